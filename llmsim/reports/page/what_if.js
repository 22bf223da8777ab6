// Judges stored clusters anew by bounds, confidence and prices that sliders choose (reports/page/what_if.py).
// The same formulas as statistics/shares.py and statistics/intervals.py; tests compare both.
const LEAST_CLUSTERS = 8, MOST_SAID = 0.999;

function logGamma(x) {
  if (x < 12) return logGamma(x + 1) - Math.log(x);
  const r = 1 / (x * x);
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r / 1680))) / x;
}

// regularized lower incomplete gamma function: a series below the mean, a continued fraction above it
function gammaP(a, x) {
  if (x <= 0) return 0;
  const front = Math.exp(-x + a * Math.log(x) - logGamma(a));
  if (x < a + 1) {
    let term = 1 / a, sum = term;
    for (let n = 1; n < 1e5 && term > sum * 1e-15; n++) { term *= x / (a + n); sum += term; }
    return sum * front;
  }
  let b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (let n = 1; n < 1e5; n++) {
    const an = -n * (n - a);
    b += 2; d = 1 / (an * d + b); c = b + an / c;
    const change = d * c;
    h *= change;
    if (Math.abs(change - 1) < 1e-14) break;
  }
  return 1 - front * h;
}

function gammaCdf(mean, variance, at) {
  return variance <= 0 ? Number(at >= mean) : gammaP(mean * mean / variance, at * mean / variance);
}

// [at least, at most]: that the share of requests that miss is at most `bound`; cell: [events, squares, largest, effective]
function probabilityAtMost(of, cell, bound) {
  if (bound >= 1) return [1, 1];
  if (!cell) return [0, 0];
  const [events, sizes, largest, effective] = cell;
  const squares = effective < LEAST_CLUSTERS ? Math.max(sizes, events * largest) : sizes, rest = 1 - events / of;
  const low = gammaCdf(events + largest, (squares + largest * largest) * rest, bound * of);
  const high = events ? gammaCdf(events, squares * rest, bound * of) : 1;
  return [low, Math.max(low, high)];
}

// Student's t distribution for whole degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4)
function studentT(degrees, t) {
  const angle = Math.atan(t / Math.sqrt(degrees)), cos = Math.cos(angle), sin = Math.sin(angle);
  const odd = degrees % 2 === 1;
  let term = odd ? cos : 1, sum = degrees === 1 ? 0 : term;
  for (let k = odd ? 3 : 2; k < degrees; k += 2) { term *= cos * cos * (k - 1) / k; sum += term; }
  return 0.5 + (odd ? (angle + sin * sum) / Math.PI : sin * sum / 2);
}

function probabilityAtLeast(values, bound) {
  if (values.some((value) => value === null)) return 0;
  const n = values.length, mean = values.reduce((a, b) => a + b, 0) / n;
  if (n === 1) return 0.5;
  const error = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1) / n);
  return error === 0 ? Number(mean >= bound) : studentT(n - 1, (mean - bound) / error);
}

// the probability that an option keeps one target, at least and at most, with the sliders at `chosen`
function keeps(target, found, chosen, given) {
  const bound = chosen[target.knob];
  if (found.values) {
    const sign = target.at_least ? 1 : -1;
    if (given) {
      const kept = found.values.every((value) => value !== null && sign * value >= sign * bound);
      return [Number(kept), Number(kept)];
    }
    const p = found.values.includes(null) ? 0 : probabilityAtLeast(found.values.map((value) => sign * value), sign * bound);
    return [p, p];
  }
  let place = 0;
  for (const [name, steps] of Object.entries(found.bounds)) place = place * steps.length + steps.indexOf(chosen[target.prefix + name]);
  const most = target.of_slo ? 1 - bound : target.most_missing, cell = found.cells[place];
  if (given) { const kept = Number(Boolean(cell) && cell[0] / found.of <= most + 1e-12); return [kept, kept]; }
  return probabilityAtMost(found.of, cell, most);
}

// several targets: at least 1 - the sum of what each may fail by, at most the least
function judge(option, data, chosen) {
  if (option.why) return { answer: option.why, p: null };
  const each = option.found.map((found, i) => keeps(data.targets[i], found, chosen, data.given));
  const low = Math.max(0, 1 - each.reduce((sum, [p]) => sum + 1 - p, 0)), high = Math.min(...each.map(([, p]) => p));
  if (low >= chosen.confidence) return { answer: "carries", p: low };
  return high <= 1 - chosen.confidence ? { answer: "fails", p: high } : { answer: "undecided", p: low };
}

function probabilityText(p) {
  if (p > MOST_SAID) return `P > ${MOST_SAID}`;
  return p < 1 - MOST_SAID ? `P < ${(1 - MOST_SAID).toFixed(3)}` : `P = ${p.toFixed(3)}`;
}

function usdPerHour(option, chosen) {
  return Object.entries(option.gpus).reduce((sum, [gpu, count]) => sum + count * chosen[`price ${gpu}`], 0);
}

// what an answer is called in the table: a point of a sweep meets the SLO or does not
const called = (data, answer) => (data.kind === "sweep" && { carries: "meets it", fails: "misses it" }[answer]) || answer;

const money = (usd) => usd.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

// the cheapest option that carries; of a question for the largest load, the largest load of each group, by the token
function best(options) {
  const largest = {};
  const found = options.filter((option) => option.judged.answer === "carries");
  if (found.some((option) => option.load)) found.forEach((option) => {
    if (!(largest[option.group] && largest[option.group].size > option.size)) largest[option.group] = option;
  });
  const candidates = Object.keys(largest).length ? Object.values(largest) : found;
  const cost = (option) => (option.load && option.tokens_per_s ? option.usd / option.tokens_per_s : option.usd);
  return candidates.sort((a, b) => cost(a) - cost(b) || b.judged.p - a.judged.p)[0];
}

// what is not known of sizes beside the answer, because no run was made of them
function unknown(data, options, found) {
  if (data.kind === "sweep") return "";
  const group = options.filter((option) => !found || option.group === found.group), easier = data.kind === "load" ? -1 : 1;
  const lesser = found && group.filter((option) => (found.size - option.size) * easier > 0);
  if (!found) return ` What was not simulated may carry it: ${data.kind === "load" ? "smaller loads" : "more instances"}.`;
  if (data.kind === "instances" && found.size > 1 && !lesser.some((option) => option.size === found.size - 1))
    return ` ${found.size - 1} ${found.size === 2 ? "was" : "were"} not simulated.`;
  if (data.kind === "load" && !lesser.length) return " Larger loads were not simulated.";
  return "";
}

function neighbour(data, options, found) {
  if (data.kind === "sweep") return "";
  const sign = data.kind === "load" ? -1 : 1;
  const lesser = options.filter((option) => option.group === found.group && (found.size - option.size) * sign > 0);
  const next = lesser.sort((a, b) => (b.size - a.size) * sign)[0];
  if (!next) return "";
  const { answer, p } = next.judged;
  return ` ${next.short}: ${answer}${p === null ? "" : ` (${probabilityText(p)})`}.`;
}

function answerText(data, options, found) {
  if (!found) return `None of what was simulated surely ${data.kind === "sweep" ? "meets" : "carries"} it.${unknown(data, options, found)}`;
  return `${found.name}, ${money(found.usd)} USD/h (${probabilityText(found.judged.p)}).${neighbour(data, options, found)}${unknown(data, options, found)}`;
}

const quoted = (text) => (/^[\w.=/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

// the command that asks for what the sliders show, anew
function commandText(data, chosen) {
  const moved = data.knobs.filter((knob) => knob.steps && chosen[knob.key] !== knob.steps[knob.at]), words = [];
  const is = (start) => moved.filter((knob) => knob.key.startsWith(start));
  is("slo.").filter((knob) => knob.bound).forEach((knob) => words.push(`${knob.key}=${chosen[knob.key]}`));
  if (data.kind !== "sweep") {
    if (moved.some((knob) => knob.target)) words.push(`plan.targets=${JSON.stringify(data.targets.map((target) =>
      `${target.metric} ${target.at_least ? ">=" : "<="} ${chosen[target.knob]}`))}`);
    if (is("confidence").length) words.push(`plan.confidence=${chosen.confidence}`);
    const prices = is("price ").map((knob) => `${knob.key.slice(6)}=${chosen[knob.key]}`);
    if (prices.length) words.push(`plan.price_usd_per_hour={${prices.join(", ")}}`);
  }
  return [data.command, ...words.map((word) => `--set ${quoted(word)}`)].join(" ");
}

function show(data) {
  const chosen = {};
  data.knobs.forEach((knob, i) => {
    const slider = document.getElementById(`knob${i}`), value = knob.steps[Number(slider.value)];
    chosen[knob.key] = value;
    slider.nextElementSibling.textContent = knob.said[Number(slider.value)];
  });
  data.options.forEach((option) => { option.judged = judge(option, data, chosen); option.usd = usdPerHour(option, chosen); });
  const found = best(data.options);
  data.options.forEach((option, i) => {
    const row = document.getElementById(`option${i}`), { answer, p } = option.judged;
    row.className = option === found ? "chosen" : "";
    row.querySelector(".usd").textContent = money(option.usd);
    row.querySelector(".p").textContent = p === null ? "–" : p.toFixed(3);
    row.querySelector(".said").textContent = called(data, answer);
  });
  const answer = document.getElementById("what-if-answer");
  answer.textContent = answerText(data, data.options, found);
  answer.className = `verdict ${found ? "good" : "bad"}`;
  document.getElementById("what-if-command").textContent = commandText(data, chosen);
}

function showWhatIf(stored) {
  const data = JSON.parse(stored.textContent);
  data.knobs.forEach((knob, i) => { document.getElementById(`knob${i}`).oninput = () => show(data); });
  show(data);
}

const whatIf = document.getElementById("what-if-data");
if (whatIf) showWhatIf(whatIf);
