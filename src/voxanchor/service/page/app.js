// The page: what is on it, and what its buttons do.

import { call, person } from "./api.js";
import { scale, shown, sweep, waveform } from "./draw.js";
import { Recorder } from "./recorder.js";

const SWEEP = [20, 15, 10, 5, 0];
const $ = (id) => document.getElementById(id);
const state = { service: null, sound: null, samples: null, reference: null, recorder: null, busy: false, noisyUrl: null, soundUrl: null, ofName: false };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function percent(share) {
  if (share > 0.999) return "more than 99.9 %";
  return share < 0.001 ? "less than 0.1 %" : `${Number((100 * share).toFixed(1))} %`;
}

function times(llr) {
  const ratio = Math.exp(Math.abs(llr));
  return ratio > 1e6 ? "more than a million" : Number(ratio.toPrecision(2)).toLocaleString("en");
}

const VERDICTS = { accepted: "Accepted", rejected: "Rejected", abstained: "No decision: too little speech", uncalibrated: "A score, no decision" };

function verdict(judged, names = VERDICTS) {
  return element("p", { class: `verdict ${judged.decision}` }, names[judged.decision]);
}

function meaning(judged, prior) {
  if (judged.llr === null) return sentence(judged.reason);
  const posterior = 1 / (1 + Math.exp(-judged.llr - Math.log(prior / (1 - prior))));
  const [better, worse] = judged.llr >= 0 ? ["One voice explains", "two voices do"] : ["Two voices explain", "one voice does"];
  return `${better} what was heard ${times(judged.llr)} times better than ${worse}. `
    + `Where ${percent(prior)} of those who ask are who they say, that makes ${percent(posterior)} that it is one voice.`;
}

function warnings(sides, names) {
  const found = sides.flatMap((side, i) => side.warnings.map((words) => `${names[i]}: ${words}`));
  if (!found.length) return [];
  return [element("div", { class: "warnings" }, element("strong", {}, "Quality: "), found.join("; "))];
}

function quality(sides, names) {
  const rows = sides.map((side, i) => element("tr", {},
    element("th", { scope: "row" }, names[i]),
    element("td", {}, `${side.speech_s.toFixed(1)} s of speech`),
    element("td", {}, `about ${shown(side.snr_db, 0)} dB above the noise`),
    element("td", {}, side.recordings > 1 ? `${side.recordings} recordings` : "")));
  return element("table", {}, element("tbody", {}, ...rows));
}

const answer = (...children) => $("answer").replaceChildren(...children);
const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);
const failed = (error, where = $("answer")) => where.replaceChildren(element("p", { class: "warnings" }, sentence(error.message)));

// An answer is about what was asked: it must not stand beside another recording, name or noise
function outdateAnswer() {
  if ($("answer").querySelector(":scope > :not(.quiet)")) answer(element("p", { class: "quiet" }, "Not asked yet since the recording, the name or the reference has changed."));
}

function outdateTried() {
  $("tried").replaceChildren();
  $("noisy").pause();
  $("noisy").hidden = true;
}

function outdateNoise() {
  outdateTried();
  $("chart").replaceChildren();
}

function showVerification(found, names) {
  const parts = [verdict(found)];
  if (found.score !== null) parts.push(scale(found));
  parts.push(element("p", {}, found.score === null ? sentence(found.reason) : meaning(found, found.prior ?? state.service.prior)));
  parts.push(...warnings(found.sides, names), quality(found.sides, names));
  answer(...parts);
}

function showIdentification(found) {
  const names = { ...VERDICTS, accepted: `It is ${found.person}`, rejected: "Nobody who is enrolled" };
  const warned = found.candidates.filter((one) => one.warning);
  const rows = found.candidates.map((one) => element("tr", {},
    element("td", {}, one.person),
    element("td", {}, one.probability === null ? "" : percent(one.probability)),
    element("td", {}, one.llr === null ? `cosine ${shown(one.score, 3)}` : `log-likelihood ratio ${shown(one.llr)}`)));
  if (found.nobody !== null && rows.length) rows.push(element("tr", {}, element("td", {}, "nobody of these"), element("td", {}, percent(found.nobody)), element("td")));
  answer(verdict(found, names), element("p", {}, sentence(found.reason)), element("table", {}, element("tbody", {}, ...rows)), ...searched(found),
    ...warnings([found.side, ...warned.map((one) => ({ warnings: [one.warning] }))], ["recording", ...warned.map((one) => one.person)]));
}

// by what threshold, among how many, how often a stranger is taken for somebody, and where a claim would have been accepted
function searched(found) {
  if (found.threshold === null || !found.people) return [];
  const rate = found.false_acceptance, who = found.people === 1 ? "1 person was searched" : `${found.people} people were searched`;
  const digits = (value) => Number(value.toPrecision(2));
  const most = rate.highest === null ? "" : ` over all conditions, ${digits(rate.highest)} % in ${rate.condition}`;
  const often = rate.rate === null ? `How many strangers are taken for somebody is not stated: ${rate.remark}.`
    : `Of strangers at most ${digits(rate.rate)} % are taken for somebody${most} (${rate.remark}).`;
  const asked = found.prior === null ? "" : `, for a prior of ${found.prior}`;
  const parts = [element("p", { class: "quiet" }, `${who}; the threshold on the log-likelihood ratio is ${shown(found.threshold)}${asked}. ${often}`)];
  if (found.remark) parts.unshift(element("p", {}, `${sentence(found.remark)}.`));
  return parts;
}

function showEnrolled(found) {
  answer(element("p", { class: "verdict accepted" }, `${found.person} is enrolled`), ...warnings([found.side], ["recording"]), quality([found.side], ["recording"]));
}

function enable() {
  const ready = state.sound !== null && !state.busy && state.recorder === null, named = $("name").value.trim() !== "";
  $("enroll").disabled = $("verify").disabled = !(ready && named);
  $("identify").disabled = $("keep").disabled = !ready;
  $("compare").disabled = !(ready && state.reference);
  $("try").disabled = $("sweep").disabled = !(ready && $("against").value);
  // what an answer that is on its way is about must not change meanwhile
  for (const name of ["record", "file", "name", "against", "kind", "seed", "snr"]) $(name).disabled = state.busy;
}

// A job may return what the keyboard goes to when the element that began it is gone
async function busy(job, where = undefined) {
  if (state.busy) return;
  const pressed = document.activeElement;
  let next;
  state.busy = true; enable();
  try { next = await job(); } catch (error) { failed(error, where); } finally { state.busy = false; enable(); }
  // what is disabled for a while loses the keyboard
  if (document.activeElement === document.body) (next ?? pressed).focus();
}

function option(value, words) { return element("option", { value }, words); }

async function refresh() {
  outdateNoise();
  const people = await call("GET", "/v1/people");
  $("names").replaceChildren(...people.map((one) => option(one.name, "")));
  $("people").replaceChildren(...people.map((one) => {
    const remove = element("button", { type: "button", class: "plain", "aria-label": `Delete ${one.name}` }, "Delete");
    remove.onclick = () => busy(async () => {
      if (!confirm(`Delete everything of ${one.name}?`)) return undefined;
      const gone = await call("DELETE", person(one.name)), place = people.indexOf(one);
      answer(element("p", {}, `${gone.person} is deleted. ${gone.remark}`));
      await refresh();
      const left = $("people").querySelectorAll("button");
      return left[Math.min(place, left.length - 1)] ?? $("h-enrolled");
    });
    return element("li", {}, element("span", {}, `${one.name} `, element("small", { class: "quiet" }, `${one.recordings} recording${one.recordings > 1 ? "s" : ""}`)), remove);
  }), ...(people.length ? [] : [element("li", { class: "quiet" }, "Nobody yet.")]));
  const chosen = $("against").value;
  $("against").replaceChildren(...people.map((one) => option(`person:${one.name}`, one.name)), ...(state.reference ? [option("reference", "the reference recording")] : []));
  if ([...$("against").options].some((one) => one.value === chosen)) $("against").value = chosen;
  enable();
}

async function take(sound, words) {
  state.sound = sound;
  outdateAnswer();
  outdateNoise();
  if (state.soundUrl) URL.revokeObjectURL(state.soundUrl);
  state.soundUrl = $("play").src = URL.createObjectURL(sound);
  $("play").hidden = false;
  try {
    const context = new OfflineAudioContext(1, 1, 16000);
    const decoded = await context.decodeAudioData(await sound.arrayBuffer());
    state.samples = decoded.getChannelData(0);
    $("state").textContent = `${words}, ${decoded.duration.toFixed(1)} s.`;
    $("wave").setAttribute("aria-label", `Waveform of ${decoded.duration.toFixed(1)} s`);
  } catch {
    state.samples = new Float32Array(0);
    $("state").textContent = `${words}. This browser cannot draw it; the service may read it all the same.`;
  }
  waveform($("wave"), state.samples);
  enable();
}

async function record() {
  if (state.recorder) {
    const recorder = state.recorder;
    state.recorder = null;
    $("record").textContent = "Record"; $("record").setAttribute("aria-pressed", "false");
    $("file").value = "";
    await take(await recorder.stop(), "Recorded");
    return;
  }
  let recent = [];
  const limit = state.service ? state.service.limits.duration_s : 120;
  const recorder = new Recorder((block, seconds) => {
    recent = recent.concat(Array.from(block)).slice(-48000);
    if (recent.length % 1024 < 128) waveform($("wave"), recent);
    $("state").textContent = `Recording, ${seconds.toFixed(1)} s …`;
    if (seconds > limit - 1 && state.recorder) record();
  });
  try { await recorder.start(); } catch (error) { $("state").textContent = error.message; return; }
  state.recorder = recorder;
  outdateAnswer();
  outdateNoise();
  $("record").textContent = "Stop"; $("record").setAttribute("aria-pressed", "true");
  enable();
}

function noiseFields(snrs) {
  const against = $("against").value;
  const target = against === "reference" ? ["reference", state.reference] : ["person", against.slice("person:".length)];
  return [["recording", state.sound], target, ["kind", $("kind").value], ["seed", $("seed").value || "0"], ...snrs.map((snr) => ["snr_db", snr])];
}

function judgedBy(name, title, judged, point, remark) {
  const box = element("div", {}, element("h3", { class: `${name}-name` }, title));
  if (!judged) box.append(element("p", { class: "quiet" }, sentence(remark)));
  else {
    box.append(verdict(judged));
    if (judged.score !== null) box.append(scale(judged));
    box.append(element("p", { class: "quiet" }, judged.llr === null && judged.score !== null ? "Not calibrated: the cosine alone." : sentence(judged.reason)));
  }
  return box;
}

const titles = () => [state.service.model.label, state.service.beside ? state.service.beside.label : ""];

async function addNoise() {
  const found = await call("POST", "/v1/try", [...noiseFields([$("snr").value]), ["audio", "true"]]);
  const [point] = found.noisy, [one, other] = titles(), shownPair = [];
  shownPair.push(judgedBy("served", one, point.served, point, ""));
  if (state.service.beside) shownPair.push(judgedBy("beside", other, point.beside, point, found.beside_remark));
  $("tried").replaceChildren(...shownPair, ...warnings([point.side], ["with noise"]));
  const bytes = Uint8Array.from(atob(found.audio), (letter) => letter.charCodeAt(0));
  if (state.noisyUrl) URL.revokeObjectURL(state.noisyUrl);
  state.noisyUrl = $("noisy").src = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
  $("noisy").hidden = false;
}

async function runSweep() {
  const found = await call("POST", "/v1/try", noiseFields(SWEEP));
  const points = [found.clean, ...found.noisy], [one, other] = titles();
  const names = ["served", ...(points[0].beside ? ["beside"] : [])];
  const scored = points.filter((point) => names.every((name) => point[name].score !== null));
  if (scored.length < 2) throw new Error("The recording holds too little speech to go through all ratios.");
  const calibrated = scored.every((point) => names.every((name) => point[name].llr !== null));
  const cell = (judged) => judged.score === null ? "no decision" : `${shown(calibrated ? judged.llr : judged.score, calibrated ? 1 : 3)} ${judged.decision}`;
  const head = element("tr", {}, element("th", { scope: "col" }, "Speech above noise"), element("th", { scope: "col", class: "served-name" }, `● ${one}`), ...(names[1] ? [element("th", { scope: "col", class: "beside-name" }, `■ ${other}`)] : []));
  const rows = points.map((point) => element("tr", {}, element("th", { scope: "row" }, point.snr_db === null ? "as recorded" : `${point.snr_db} dB`), ...names.map((name) => element("td", {}, cell(point[name])))));
  $("chart").replaceChildren(sweep(scored, calibrated),
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)),
    element("figcaption", {}, `Added: ${found.noise}, the same piece of it at every ratio.${calibrated || !names[1] ? "" : " Not both models are calibrated: cosines of different models are on different scales."} ${state.service.beside && !points[0].beside ? sentence(found.beside_remark) : ""}`));
}

function describe(service) {
  const model = service.model;
  const rate = service.false_acceptance === null ? `a prior of ${percent(service.prior)} (see "What the words mean")` : `${service.false_acceptance} % false acceptance`;
  $("about").textContent = `Model ${model.label} (${model.fingerprint}, ${model.embedding_dim} dimensions): ` + (model.calibrated ? `decisions for ${rate}.` : "not calibrated.")
    + (service.beside ? ` Beside it: ${service.beside.label} (${service.beside.fingerprint}${service.beside.calibrated ? "" : ", not calibrated"}).` : "");
  $("note").hidden = model.calibrated;
  $("note").textContent = "This model has no calibration: it gives cosines, and no decisions. voxanchor calibrate fits one.";
  $("kind").replaceChildren(...service.noise.map((kind) => option(kind, kind)));
  $("noise").hidden = service.noise.length === 0;
  if (service.beside) $("who").textContent = "both models decide";
}

$("record").onclick = () => record().catch((error) => { $("state").textContent = error.message; });
$("file").onchange = () => $("file").files[0] && take($("file").files[0], "File");
$("drop").ondragover = (event) => { event.preventDefault(); $("drop").classList.add("over"); };
$("drop").ondragleave = () => $("drop").classList.remove("over");
$("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files[0] && !state.busy) take(event.dataTransfer.files[0], "File");
};
$("keep").onclick = () => busy(async () => { state.reference = state.sound; outdateAnswer(); $("state").textContent = "Kept as reference. Make or choose another recording to compare."; await refresh(); });
$("name").oninput = () => {
  if (state.ofName) outdateAnswer();
  enable();
};
$("enroll").onclick = () => busy(async () => {
  state.ofName = true;
  showEnrolled(await call("POST", person($("name").value.trim()), [["recordings", state.sound]]));
  await refresh();
});
// a form, so that Enter in the name verifies
$("person").onsubmit = (event) => {
  event.preventDefault();
  busy(async () => {
    const name = $("name").value.trim();
    state.ofName = true;
    showVerification(await call("POST", `${person(name)}/verify`, [["recording", state.sound]]), [name, "recording"]);
  });
};
$("identify").onclick = () => busy(async () => {
  state.ofName = false;
  showIdentification(await call("POST", "/v1/identify", [["recording", state.sound]]));
});
$("compare").onclick = () => busy(async () => {
  state.ofName = false;
  showVerification(await call("POST", "/v1/verify", [["first", state.reference], ["second", state.sound]]), ["reference", "recording"]);
});
$("snr").oninput = () => {
  $("snr-text").textContent = `${shown(Number($("snr").value), 0)} dB`;
  $("snr").setAttribute("aria-valuetext", `${$("snr").value} dB`);
  outdateTried();
};
for (const name of ["against", "kind", "seed"]) {
  $(name).oninput = () => {
    outdateNoise();
    enable();
  };
}
$("try").onclick = () => busy(addNoise, $("tried"));
$("sweep").onclick = () => busy(runSweep, $("chart"));
addEventListener("resize", () => state.samples && waveform($("wave"), state.samples));

busy(async () => {
  try {
    state.service = await call("GET", "/v1/model");
  } catch (error) {
    $("about").textContent = "The service has not answered. Load this page again to ask once more.";
    throw error;
  }
  describe(state.service);
  await refresh();
});
