"use strict";
// Draws timeline data (reports/page/timeline.py) on two canvases, up to a time that a slider moves.
const PANELS = [[0, 1], [2], [3]];
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7"];
const LEFT = 58, RIGHT = 8, TOP = 18, GAP = 26, HEIGHT = 84;

function ink(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#333"; }

function sized(canvas, height) {
  const ratio = window.devicePixelRatio || 1, width = canvas.parentElement.clientWidth;
  canvas.style.width = "100%"; canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0); pen.clearRect(0, 0, width, height); pen.font = "12px system-ui, sans-serif";
  return [pen, width];
}

function round(value) { return value >= 100 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)).toString(); }

function frame(pen, left, top, width, height, most, words, endS, startS = 0) {
  pen.strokeStyle = ink("--line"); pen.fillStyle = ink("--quiet"); pen.lineWidth = 1;
  pen.strokeRect(left, top, width, height);
  pen.textAlign = "left"; pen.fillText(words, left, top - 5);
  pen.textAlign = "right"; pen.fillText(round(most), left - 5, top + 10); pen.fillText("0", left - 5, top + height);
  if (endS !== undefined) {
    pen.fillText(`${round(endS)} s`, left + width, top + height + 14);
    pen.textAlign = "left"; pen.fillText(`${round(startS)} s`, left, top + height + 14);
  }
}

function drawLines(data, at) {
  const canvas = document.getElementById("lines"), [pen, full] = sized(canvas, PANELS.length * (HEIGHT + GAP) + 12);
  const width = full - LEFT - RIGHT, points = data.lines[0].values.length;
  PANELS.forEach((panel, place) => {
    const top = TOP + place * (HEIGHT + GAP), lines = panel.map((number) => data.lines[number]);
    const most = Math.max(1e-9, ...lines.flatMap((line) => line.values));
    const words = lines.map((line) => line.name).join(", ") + ` (${lines[0].unit})`;
    frame(pen, LEFT, top, width, HEIGHT, most, words, place === PANELS.length - 1 ? data.end_s : undefined);
    lines.forEach((line, number) => {
      pen.strokeStyle = COLOURS[panel[number]]; pen.lineWidth = 1.4; pen.beginPath();
      line.values.forEach((value, i) => {
        pen.lineTo(LEFT + (width * i) / (points - 1), top + HEIGHT * (1 - value / most));
      });
      pen.stroke();
    });
    const x = LEFT + (width * at) / (points - 1);
    pen.strokeStyle = ink("--ink"); pen.lineWidth = 1; pen.beginPath(); pen.moveTo(x, top); pen.lineTo(x, top + HEIGHT); pen.stroke();
  });
}

function drawRequests(data, timeS) {
  const canvas = document.getElementById("requests"), columns = Math.max(1, data.requests.length);
  const narrow = canvas.parentElement.clientWidth < 560, across = narrow ? 1 : columns, rows = Math.ceil(columns / across);
  const [pen, full] = sized(canvas, rows * 170);
  const width = full / across - LEFT - RIGHT, height = 110;
  data.requests.forEach((request, place) => {
    const left = (place % across) * (full / across) + LEFT, top = TOP + 8 + Math.floor(place / across) * 170;
    const reader = data.reader, most = request.tokens[request.tokens.length - 1] || 1;
    const first = request.times_s.length ? request.times_s[0] : request.arrival_s;
    const start = (reader.anchor === "first_token" ? first : request.arrival_s) + reader.offset_s;
    const last = request.times_s[request.times_s.length - 1] || request.arrival_s;
    const end = Math.min(Math.max(last, start + most / reader.tokens_per_s), request.arrival_s + 2.5 * (last - request.arrival_s) + 1e-9);
    const x = (s) => left + (width * (s - request.arrival_s)) / (end - request.arrival_s);
    const y = (n) => top + height * (1 - n / most);
    frame(pen, left, top, width, height, most, `${request.name}, request ${request.request}: tokens, reader`, end, request.arrival_s);
    pen.strokeStyle = ink("--quiet"); pen.setLineDash([4, 3]); pen.beginPath(); pen.moveTo(x(start), y(0));
    const readEnd = Math.min(end, Math.max(timeS, start));
    pen.lineTo(x(readEnd), y(Math.min(most, (readEnd - start) * reader.tokens_per_s))); pen.stroke(); pen.setLineDash([]);
    pen.strokeStyle = COLOURS[0]; pen.lineWidth = 1.6; pen.beginPath(); pen.moveTo(x(request.arrival_s), y(0));
    let there = 0;
    request.times_s.forEach((s, i) => {
      if (s > timeS) return;
      pen.lineTo(x(s), y(there)); there = request.tokens[i]; pen.lineTo(x(s), y(there));
    });
    pen.stroke();
  });
}

function showTimeline(data, fraction) {
  const slider = document.getElementById("at"), points = data.lines[0].values.length;
  slider.max = points - 1;
  const draw = () => {
    const at = Number(slider.value), timeS = (data.end_s * at) / (points - 1);
    drawLines(data, at);
    drawRequests(data, timeS);
    const told = data.lines.map((line) => `${line.name} ${round(line.values[at])}${line.unit === "%" ? " %" : ` ${line.unit}`}`);
    document.getElementById("now").textContent = `at ${timeS.toFixed(2)} s: ${told.join("; ")}`;
  };
  slider.oninput = draw; window.onresize = draw;
  if (fraction !== undefined) slider.value = Math.round(fraction * (points - 1));
  draw();
}

function sortTables() {
  const number = (text) => { const found = text.replaceAll(",", "").match(/-?\d+(\.\d+)?(e[+-]?\d+)?/); return found ? Number(found[0]) : NaN; };
  document.querySelectorAll("table").forEach((table) => table.querySelectorAll("th").forEach((head, column) => {
    head.tabIndex = 0; head.title = "sort by this column";
    const sort = () => {
      const down = head.dataset.down !== "1", body = table.tBodies[0], rows = [...body.rows];
      table.querySelectorAll("th").forEach((other) => delete other.dataset.down);
      head.dataset.down = down ? "1" : "0";
      rows.sort((a, b) => {
        const one = a.cells[column].textContent, two = b.cells[column].textContent, x = number(one), y = number(two);
        const order = Number.isNaN(x) || Number.isNaN(y) ? (Number.isNaN(x) - Number.isNaN(y)) || one.localeCompare(two) : x - y;
        return down ? -order : order;
      });
      body.append(...rows);
    };
    head.onclick = sort;
    head.onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); } };
  }));
}

sortTables();
const stored = document.getElementById("data");
if (stored) showTimeline(JSON.parse(stored.textContent), 1);
