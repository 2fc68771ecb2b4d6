// What is drawn: a waveform on a canvas, a score on a scale, scores over noise.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const text = (x, y, words, anchor = "middle", kind = "") => make("text", { x, y, "text-anchor": anchor, class: kind }, words);
const line = (x1, y1, x2, y2, kind) => make("line", { x1, y1, x2, y2, class: kind });

export function waveform(canvas, samples, until = 1) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale; canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = getComputedStyle(canvas).color;
  const columns = Math.floor(width * until), step = samples.length / Math.max(columns, 1);
  let loudest = 0.05;
  for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
  for (let x = 0; x < columns; x++) {
    let low = 0, high = 0;
    for (let i = Math.floor(x * step); i < Math.min((x + 1) * step, samples.length); i++) {
      low = Math.min(low, samples[i]); high = Math.max(high, samples[i]);
    }
    const middle = height / 2, reach = middle - 4;
    pen.fillRect(x, middle - reach * high / loudest, 1, Math.max(1, reach * (high - low) / loudest));
  }
}

// With a real minus sign, and none before a zero
export function shown(number, digits = 1) {
  const words = number.toFixed(digits);
  return Number(words) === 0 ? words.replace("-", "") : words.replace("-", "−");
}

// Round numbers from below the lowest value to above the highest, and the digits that they need
export function rounded(low, high, most = 6) {
  const rough = Math.max(high - low, 0.04) / (most - 2), power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9));
  const first = Math.floor(low / step), last = Math.max(Math.ceil(high / step), first + 1);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// A score on its axis: the log-likelihood ratio with its threshold, or the cosine alone
export function scale(judged) {
  const calibrated = judged.llr !== null;
  const value = calibrated ? judged.llr : judged.score;
  const reach = calibrated ? Math.max(15, Math.ceil(Math.abs(judged.threshold) + 4)) : 1;
  const left = 12, right = 468, top = 34, bottom = 58;
  const at = (number) => left + (right - left) * (Math.max(-reach, Math.min(reach, number)) + reach) / (2 * reach);
  const words = calibrated
    ? `Log-likelihood ratio ${shown(value)}, threshold ${shown(judged.threshold)}`
    : `Cosine ${shown(value, 3)}, no threshold`;
  const svg = make("svg", { viewBox: "0 0 480 104", role: "img", "aria-label": words });
  if (calibrated) {
    const border = at(judged.threshold);
    svg.append(
      make("rect", { x: left, y: top, width: border - left, height: bottom - top, class: "no" }),
      make("rect", { x: border, y: top, width: right - border, height: bottom - top, class: "yes" }),
      text((left + border) / 2, bottom - 8, "reject", "middle", "faint"),
      ...(right - border > 60 ? [text((border + right) / 2, bottom - 8, "accept", "middle", "faint")] : []),
      line(border, top - 6, border, bottom + 6, "threshold"),
    );
  } else {
    svg.append(make("rect", { x: left, y: top, width: right - left, height: bottom - top, class: "neither" }));
  }
  const ticks = calibrated ? [-15, -10, -5, 0, 5, 10, 15] : [-1, -0.5, 0, 0.5, 1];
  for (const tick of ticks) {
    svg.append(line(at(tick), bottom, at(tick), bottom + 5, "axis"), text(at(tick), bottom + 20, shown(tick, tick % 1 ? 1 : 0), "middle", "faint"));
  }
  const x = at(value), beyond = Math.abs(value) > reach ? (value > 0 ? " →" : " ←") : "";
  svg.append(
    make("path", { d: `M${x} ${top + 8} l-8 -16 h16 z`, class: "needle" }),
    text(Math.max(left + 14, Math.min(right - 14, x)), top - 12, shown(value, calibrated ? 1 : 3) + beyond),
    text(left, bottom + 36, calibrated ? "← two voices" : "← unlike", "start", "faint"),
    text(right, bottom + 36, calibrated ? "one voice →" : "alike →", "end", "faint"),
    text(240, bottom + 36, calibrated ? "log-likelihood ratio" : "cosine", "middle", "faint"),
  );
  return svg;
}

// Scores of both models over the signal-to-noise ratio; calibrated ones only when both models are
export function sweep(points, calibrated) {
  const value = (judged) => judged && (calibrated ? judged.llr : judged.score);
  const names = ["served", "beside"].filter((name) => points.some((point) => point[name]));
  const values = points.flatMap((point) => names.map((name) => value(point[name]))).filter((number) => number !== null);
  const thresholds = calibrated ? names.map((name) => points[0][name].threshold) : [];
  const { ticks, digits } = rounded(Math.min(...values, ...thresholds), Math.max(...values, ...thresholds));
  const low = ticks[0], high = ticks.at(-1);
  const left = 48, right = thresholds.length ? 398 : 468, top = 12, bottom = 210;
  const x = (place) => left + 20 + (right - left - 40) * place / (points.length - 1);
  const y = (number) => bottom - (bottom - top) * (number - low) / (high - low);
  const svg = make("svg", { viewBox: "0 0 480 270", role: "img", "aria-label": `${calibrated ? "Log-likelihood ratio" : "Cosine"} over the signal-to-noise ratio, in the table below` });
  svg.append(line(left, bottom, right, bottom, "axis"), line(left, top, left, bottom, "axis"));
  for (const tick of ticks) {
    svg.append(line(left, y(tick), right, y(tick), "grid"), text(left - 8, y(tick) + 4, shown(tick, digits), "end", "faint"));
  }
  points.forEach((point, i) => svg.append(text(x(i), bottom + 20, point.snr_db === null ? "clean" : `${point.snr_db} dB`, "middle", "faint")));
  let spot = Infinity;  // of the label below, which the next must not touch
  for (const threshold of [...new Set(thresholds)].sort((one, other) => one - other)) {
    spot = Math.min(y(threshold) + 4, spot - 15);
    svg.append(line(left, y(threshold), right, y(threshold), "threshold"), text(right + 6, spot, "threshold", "start"));
  }
  for (const name of names) {
    const spots = points.map((point, i) => [x(i), value(point[name])]).filter(([, number]) => number !== null);
    svg.append(make("polyline", { points: spots.map(([spot, number]) => `${spot},${y(number)}`).join(" "), class: `line ${name}` }));
    for (const [spot, number] of spots) {
      svg.append(name === "served"
        ? make("circle", { cx: spot, cy: y(number), r: 5, class: `point ${name}` })
        : make("rect", { x: spot - 4.5, y: y(number) - 4.5, width: 9, height: 9, class: `point ${name}` }));
    }
  }
  svg.append(text(left, bottom + 46, calibrated ? "log-likelihood ratio over speech above noise" : "cosine over speech above noise", "start", "faint"));
  return svg;
}
