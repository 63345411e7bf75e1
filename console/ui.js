// Parts that screens share.

import { h, icon } from "./dom.js";
import { T } from "./texts.js";

const SHOWN_FOR = 6000;
export const ENDED = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

const notices = h("div", { class: "notices", role: "status", "aria-live": "polite" });
const outage = h("p", { class: "outage", role: "alert", hidden: true });
document.body.append(outage, notices);

/** Says something that needs no answer, for a few seconds. */
export function say(text, { bad = false } = {}) {
  const notice = h("p", { class: bad ? "notice bad" : "notice" }, text);
  notices.append(notice);
  setTimeout(() => notice.remove(), SHOWN_FOR);
}

/** Says what a failed action's error says. */
export function complain(error) {
  if (error.name === "AbortError" || error.isSignedOut) return;
  say([error.message, ...(error.details ?? [])].join(" "), { bad: true });
}

/** Shows that there is no connection, until `null` says that there is one again. */
export function tellOutage(error) {
  if (!error && !outage.hidden) say(T.back);
  outage.hidden = !error;
  outage.textContent = error ? (error.status === 0 ? T.offline : T.outage) : "";
}

export function statusOf(status) {
  return h("span", { class: "status", "data-status": status }, T.status[status] ?? status);
}

export function kindOf(kind) {
  return T.kinds[kind] ?? kind;
}

/** A card for what failed to load. */
export function failure(error, retry) {
  return h(
    "div",
    { class: "empty", role: "alert" },
    h("h2", {}, T.errors.title),
    h("p", {}, error.message, " ", (error.details ?? []).join(" ")),
    error.requestId && h("p", { class: "quiet" }, T.errors.request(error.requestId)),
    retry && button(T.again, retry, { class: "button" }),
  );
}

export function empty(title, hint, ...more) {
  return h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, hint), ...more);
}

export function loading(rows = 3) {
  const lines = Array.from({ length: rows }, () => h("div", { class: "bone" }));
  return h("div", { class: "bones", role: "status", "aria-label": T.loading }, lines);
}

/** A button. While what it started is under way, it is disabled; errors are said. */
export function button(label, act, given = {}) {
  const made = h(
    "button",
    {
      type: "button",
      ...given,
      onclick: async (event) => {
        made.disabled = true;
        try {
          await act(event);
        } catch (error) {
          complain(error);
        } finally {
          made.disabled = false;
        }
      },
    },
    label,
  );
  return made;
}

export function copyButton(label, text) {
  const act = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(T.copied);
    } catch {
      say(T.notCopied, { bad: true });
    }
  };
  return button([icon("copy"), label], act, { class: "button" });
}

/** Asks before something that can't be undone; whether the answer is yes. */
export function confirmed(question, yes) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "question", onclose: () => (dialog.remove(), resolve(dialog.returnValue === "yes")) },
      h("p", { id: "question" }, question),
      h(
        "div",
        { class: "row end" },
        h("button", { type: "button", class: "button", onclick: () => dialog.close("no") }, T.close),
        h("button", { type: "button", class: "button danger", onclick: () => dialog.close("yes") }, yes),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Names and values, without those that have no value. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  return shown.length ? h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))) : null;
}

export function section(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), ...children);
}

/** A time that tells the whole date to those who point at it. */
export function moment(text, shown, whole) {
  return h("time", { datetime: text, title: whole }, shown);
}

const NAMES = "switchyard.names";
const MOST_NAMES = 500;

/** The names under which files were uploaded from this browser, by job id. */
export function knownNames() {
  try {
    return JSON.parse(localStorage.getItem(NAMES)) ?? {};
  } catch {
    return {};
  }
}

export function rememberName(jobId, name) {
  const newest = [[jobId, name], ...Object.entries(knownNames()).filter(([id]) => id !== jobId)].slice(0, MOST_NAMES);
  localStorage.setItem(NAMES, JSON.stringify(Object.fromEntries(newest)));
}
