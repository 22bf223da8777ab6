"""What people read and look at: tables, pictures, HTML pages."""
