// Asks the server anew whenever a control is moved; only the newest question counts.
const given = JSON.parse(document.getElementById("explore").textContent), values = {};
const CLASS = { steady: "good", overloaded: "bad", "too short": "doubt", "nothing served": "bad" };
let asked = 0, shown = 0, running = false, movedAt = 0;

function byId(name) { return document.getElementById(name); }

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json", "X-Llmsim-Token": given.token }, body: JSON.stringify(body),
  });
  return answer.json();
}

function element(name, text, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.textContent = text;
  return made;
}

function slider(control) {
  const steps = 400, ratio = control.most / control.least, logarithmic = !control.whole && ratio > 20;
  const at = (value) => steps * (logarithmic ? Math.log(value / control.least) / Math.log(ratio) : (value - control.least) / (control.most - control.least));
  const of = (place) => Number((logarithmic ? control.least * ratio ** (place / steps) : control.least + (control.most - control.least) * place / steps).toPrecision(3));
  const input = control.whole
    ? Object.assign(document.createElement("input"), { type: "range", min: control.least, max: control.most, step: 1, value: control.value })
    : Object.assign(document.createElement("input"), { type: "range", min: 0, max: steps, step: 1, value: at(control.value) });
  return [input, () => (control.whole ? Number(input.value) : of(Number(input.value)))];
}

function list(control) {
  const input = document.createElement("select");
  control.choices.forEach((choice) => input.append(element("option", choice, { value: choice, selected: choice === control.value })));
  return [input, () => input.value];
}

given.controls.forEach((control) => {
  const [input, value] = control.choices.length ? list(control) : slider(control);
  const label = element("label", control.words), told = element("b", control.choices.length ? "" : String(control.value));
  label.append(told, input);
  input.id = control.key; values[control.key] = control.value;
  input.addEventListener("input", () => {
    values[control.key] = value();
    if (!control.choices.length) told.textContent = String(values[control.key]);
    movedAt = performance.now(); asked += 1; ask();
  });
  byId("controls").append(label);
});

async function ask() {
  if (running) return;
  running = true; document.body.classList.add("busy");
  while (shown < asked) {
    const now = asked, since = movedAt;
    try { show(await post("/answer", { values })); } catch (error) { byId("verdict").textContent = "the server has ended"; }
    shown = now;
    document.body.dataset.redrawnMs = (performance.now() - since).toFixed(1);
    document.body.dataset.shown = shown;
  }
  running = false; document.body.classList.remove("busy");
}

function show(answer) {
  const verdict = byId("verdict");
  if (answer.error) {
    verdict.className = "verdict bad"; verdict.textContent = answer.error;
    return;
  }
  verdict.className = `verdict ${CLASS[answer.verdict.answer] || "doubt"}`;
  verdict.textContent = `${answer.verdict.answer}: ${answer.verdict.reason}`;
  byId("cards").replaceChildren(...answer.cards.map(([value, words, missed]) => {
    const card = element("div", "", { className: `card${missed ? " missed" : ""}` });
    card.append(element("b", value), element("span", words));
    return card;
  }));
  byId("more").textContent = answer.more.map(([name, value]) => `${name} ${value}`).join(" · ") + ` · simulated in ${Math.round(1000 * answer.took_s)} ms`;
  byId("command").textContent = answer.command;
  showTimeline(answer.timeline, asked <= 1 ? 1 : undefined);
}

byId("copy").onclick = () => navigator.clipboard.writeText(byId("command").textContent);
byId("save").onclick = async () => {
  const answer = await post("/save", { values, name: byId("name").value });
  byId("saved").textContent = answer.error || ` ${answer.saved}`;
};
movedAt = performance.now(); asked = 1; ask();
