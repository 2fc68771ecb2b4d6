// Calls of the service. A key is asked for when one is needed, and kept until the tab is closed.

const KEY = "voxanchor-key";

function askForKey() {
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
  if (response.status === 401 && await askForKey()) return call(method, path, fields);
  throw new Error(answer.error ? answer.error.message : `The service answered ${response.status}.`);
}

export const person = (name) => `/v1/people/${encodeURIComponent(name)}`;
