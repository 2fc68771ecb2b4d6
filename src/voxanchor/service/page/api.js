// Calls of the service. A key is asked for when one is needed, and kept until the tab is closed.

const KEY = "voxanchor-key";

function askForKey(message) {
  document.getElementById("key-wrong").textContent = message;
  const dialog = document.getElementById("ask"), input = document.getElementById("key");
  if (dialog.open) return new Promise((done) => dialog.addEventListener("close", () => done(true), { once: true }));
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => {
    if (dialog.returnValue === "ok" && input.value) sessionStorage.setItem(KEY, input.value);
    done(dialog.returnValue === "ok" && input.value !== "");
  }, { once: true }));
}

export async function call(method, path, fields = null) {
  let body;
  if (fields) {
    body = new FormData();
    for (const [name, value] of fields) value instanceof Blob ? body.append(name, value, value.name || "recording.wav") : body.append(name, value);
  }
  const key = sessionStorage.getItem(KEY);
  let response;
  try {
    response = await fetch(path, { method, body, headers: key ? { Authorization: `Bearer ${key}` } : {} });
  } catch {
    throw new Error("The service cannot be reached, or the upload was too large for it.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401 && await askForKey(key ? "The key that was given is not known here." : "")) return call(method, path, fields);
  throw new Error(answer.error ? answer.error.message : `The service answered ${response.status}.`);
}

export function person(name) {
  // browsers take such steps out of an address, and a slash ends a name there
  if (name === "." || name === ".." || name.includes("/")) throw new Error("A name with a slash, or of dots alone, cannot be used here.");
  return `/v1/people/${encodeURIComponent(name)}`;
}
