// The lanes, for operators: their slots, who waits, and switches to pause them.

import { getLanes, pauseLane, poll, resumeLane } from "./api.js";
import { fill, h } from "./dom.js";
import { number, when } from "./format.js";
import { deployment } from "./session.js";
import { T } from "./texts.js";
import { button, confirmed, empty, failure, loading, tellOutage } from "./ui.js";

const EVERY = 5000;

export async function show(main, { signal }) {
  const list = h("div", { class: "lanes" }, loading(4));
  fill(main, h("h1", {}, T.lanes.title), h("p", { class: "quiet" }, T.lanes.intro), list);
  let shown = "";
  const look = async () => {
    const { body } = await getLanes({ signal, tries: 1 });
    const state = JSON.stringify(body.lanes);
    // What hasn't changed stays as it is, and with it the focus.
    if (state !== shown) fill(list, body.lanes.map((lane) => card(lane, look)));
    shown = state;
  };
  const failed = (error) => {
    if (!error || error.isOutage || error.status === 429) tellOutage(error);
    else if (error.isNoRoute || error.code === "NOT_FOUND") fill(list, empty(T.lanes.off, T.lanes.offHint));
    else if (!error.isSignedOut) fill(list, failure(error, () => show(main, { signal })));
  };
  poll(look, { pace: () => EVERY, signal, failed });
}

function card({ name, limit, taken, waiting, oldestWaitingSince, paused }, look) {
  const toggle = async () => {
    if (!paused && !(await confirmed(T.lanes.confirmPause(name), T.lanes.pause))) return;
    await (paused ? resumeLane(name) : pauseLane(name));
    await look();
  };
  return h(
    "section",
    { class: "card lane", "data-paused": Boolean(paused) },
    h(
      "div",
      { class: "row between" },
      h("h2", {}, name),
      // Users of a pool are no operators: the API refuses them.
      deployment.auth !== "cognito" && button(paused ? T.lanes.resume : T.lanes.pause, toggle, { class: "button", "aria-label": `${paused ? T.lanes.resume : T.lanes.pause} ${name}` }),
    ),
    paused && h("p", { class: "paused" }, paused.until ? T.lanes.pausedUntil(when(paused.until)) : T.lanes.paused, paused.reason && ` · ${paused.reason}`),
    h("meter", { min: 0, max: Math.max(1, limit), value: taken, "aria-label": T.lanes.taken(taken, limit) }),
    h("p", {}, T.lanes.taken(number(taken), number(limit)), " · ", T.lanes.waiting(number(waiting))),
    oldestWaitingSince && h("p", { class: "quiet" }, T.lanes.since(when(oldestWaitingSince))),
  );
}
