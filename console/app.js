// The frame of the page: navigation, sign-in, and which screen the address names.

import { getLanes, signedOut } from "./api.js";
import { fill, h, icon } from "./dom.js";
import * as jobs from "./jobs.js";
import { deployment, finishSignIn, goToSignIn, isSignedIn, signOut, useKey } from "./session.js";
import { T } from "./texts.js";
import { empty, failure, tellOutage } from "./ui.js";

const SCREENS = {
  jobs: () => jobs,
  job: () => import("./job.js"),
  upload: () => import("./upload.js"),
  search: () => import("./search.js"),
  lanes: () => import("./lanes.js"),
};

const main = h("main", { id: "main", tabindex: "-1" });
const links = Object.fromEntries(
  ["jobs", "search", "upload", "lanes"].map((name) => [name, h("a", { href: `#/${name}` }, icon(name), h("span", {}, T.nav[name]))]),
);
links.lanes.hidden = true;
const leave = h("button", { type: "button", class: "leave", onclick: end }, icon("out"), h("span", {}, T.nav.signOut));
const frame = h(
  "div",
  { class: "frame" },
  h("a", { class: "skip", href: "#main", onclick: skip }, T.skip),
  h("header", {}, h("a", { class: "brand", href: "#/jobs" }, h("span", { class: "mark", "aria-hidden": "true" }), T.name)),
  h("nav", { "aria-label": T.nav.label }, Object.values(links), deployment.auth === "iam" ? null : leave),
  main,
);

let showing = new AbortController();

function skip(event) {
  event.preventDefault();
  main.focus();
}

function end() {
  signOut();
  location.hash = "#/jobs";
  route();
}

/** The screen and its arguments by the address: `#/jobs?status=FAILED`, `#/jobs/ID`, `#/search?q=words`. */
function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const params = new URLSearchParams(query);
  if (name === "jobs" && rest.length) return { screen: "job", id: decodeURIComponent(rest.join("/")), params };
  return { screen: name || "jobs", params };
}

async function route() {
  showing.abort();
  showing = new AbortController();
  const { signal } = showing;
  tellOutage(null);
  if (!isSignedIn()) return signInScreen();
  if (!frame.isConnected) {
    document.querySelector(".sign-in")?.remove();
    document.body.prepend(frame);
    findLanes();
  }
  const { screen, ...given } = address();
  const current = screen === "job" ? "jobs" : screen;
  for (const [name, link] of Object.entries(links)) {
    if (name === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  title(T.nav[current] ?? T.notFound.title);
  const load = Object.hasOwn(SCREENS, screen) ? SCREENS[screen] : null;
  if (!load) {
    fill(main, h("h1", {}, T.notFound.title), h("a", { href: "#/jobs" }, T.notFound.link));
    return undefined;
  }
  try {
    const found = await load();
    if (!signal.aborted) await found.show(main, { ...given, signal, title });
  } catch (error) {
    if (signal.aborted || error.isSignedOut) return undefined;
    // A module that isn't there any more belongs to an older deployment.
    if (error instanceof TypeError) fill(main, empty(T.updated, "", h("button", { class: "button", onclick: () => location.reload() }, T.reload)));
    else fill(main, failure(error, route));
    if (!error.status) console.error(error.message);
  }
  return undefined;
}

function title(text) {
  document.title = `${text} · ${T.name}`;
}

/** Shows the link to the lanes where the deployment has that route. */
async function findLanes() {
  try {
    await getLanes({ tries: 1 });
    links.lanes.hidden = false;
  } catch {
    links.lanes.hidden = true;
  }
}

// ---- signing in ----

let why = "";

function signInScreen() {
  frame.remove();
  document.querySelector(".sign-in")?.remove();
  title(T.signIn.title);
  const alert = h("p", { class: "bad", role: "alert" }, why);
  const box = h("div", { class: "box" }, h("span", { class: "mark", "aria-hidden": "true" }), h("h1", {}, T.name), h("p", {}, T.signIn.intro), alert);
  why = "";
  if (deployment.auth === "cognito") {
    box.append(h("button", { type: "button", class: "button primary", onclick: goToSignIn }, T.signIn.cognito));
  } else if (deployment.auth === "api-key") {
    box.append(keyForm(alert));
  } else {
    fill(alert, T.signIn.proxy);
  }
  document.body.prepend(h("main", { class: "sign-in" }, box));
  box.querySelector("input, button")?.focus();
}

function keyForm(alert) {
  const input = h("input", { id: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": "key-hint" });
  const submit = h("button", { class: "button primary" }, T.signIn.submit);
  const enter = async (event) => {
    event.preventDefault();
    fill(alert);
    fill(submit, T.signIn.checking);
    submit.disabled = true;
    useKey(input.value.trim());
    try {
      await jobs.probe();
      route();
    } catch (error) {
      signOut();
      fill(alert, error.isSignedOut ? T.signIn.wrong : error.message);
      input.focus();
    } finally {
      fill(submit, T.signIn.submit);
      submit.disabled = false;
    }
  };
  return h(
    "form",
    { onsubmit: enter },
    h("label", { for: "key" }, T.signIn.key),
    input,
    h("p", { id: "key-hint", class: "quiet" }, T.signIn.keyHint),
    submit,
  );
}

signedOut.addEventListener("signedout", () => {
  if (!frame.isConnected) return; // the sign-in screen itself says what is wrong
  if (deployment.auth === "iam") {
    fill(main, failure({ message: T.signIn.proxy }, route));
    return;
  }
  signOut();
  why = T.signIn.expired;
  route();
});

addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  route();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});

addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, textarea, select, dialog") || !frame.isConnected) return;
  event.preventDefault();
  if (address().screen === "search") document.querySelector("#query")?.focus();
  else location.hash = "#/search";
});

try {
  await finishSignIn();
} catch {
  why = T.signIn.failed;
}
if (location.hash.startsWith("#/") || !location.hash) route();
else location.hash = "#/jobs";
