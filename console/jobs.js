// The jobs, newest first and live: filters in the address, many selected at once, by mouse and by keyboard.

import { cancelJob, inBulk, listJobs, poll, rerunJob } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { ago, jobName, when } from "./format.js";
import { T } from "./texts.js";
import { ENDED, button, confirmed, empty, failure, kindOf, knownNames, loading, moment, say, statusOf, tellOutage } from "./ui.js";

const PAGE = 100;
const LIVE = 3000;
const QUIET = 15_000;
const ACTIVE = ["PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING"];
const STATUSES = { "": "", active: ACTIVE.join(","), COMPLETED: "COMPLETED", FAILED: "FAILED", CANCELLED: "CANCELLED" };

/** Whether the credentials are good. Throws ApiError if not. */
export function probe() {
  return listJobs({ status: "RUNNING", limit: 1 }, { tries: 2 });
}

export async function show(main, { params, signal }) {
  const filters = { status: params.get("status") ?? "", kind: params.get("kind") ?? "" };
  const list = new List(filters, signal);
  fill(main, h("h1", {}, T.jobs.title), filterBar(filters), list.bar, list.body, h("p", { class: "quiet keys" }, T.jobs.keys));
  addEventListener("keydown", (event) => list.key(event), { signal });
  poll(() => list.refresh(), { pace: () => list.pace, signal, failed: (error) => list.failed(error) });
}

function leadTo(filters) {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value));
  return `#/jobs${query.size ? `?${query}` : ""}`;
}

function filterBar(filters) {
  const labels = { "": T.jobs.all, active: T.jobs.active, ...T.status };
  const chips = Object.keys(STATUSES).map((status) =>
    h("a", { class: "chip", href: leadTo({ ...filters, status }), "aria-current": filters.status === status ? "true" : undefined }, labels[status]),
  );
  const options = ["", ...Object.keys(T.kinds)].map((kind) =>
    h("option", { value: kind, selected: kind === filters.kind }, kind ? kindOf(kind) : T.jobs.allKinds),
  );
  const select = h(
    "select",
    { id: "kind", onchange: (event) => (location.hash = leadTo({ ...filters, kind: event.target.value })) },
    options,
  );
  return h(
    "div",
    { class: "filters" },
    h("div", { class: "chips", role: "group", "aria-label": T.jobs.status }, chips),
    h("label", { class: "hidden", for: "kind" }, T.jobs.kind),
    select,
  );
}

class List {
  constructor(filters, signal) {
    this.filters = filters;
    this.signal = signal;
    this.bar = h("div", { class: "selection", role: "region", "aria-label": T.jobs.cancel, hidden: true });
    this.body = h("div", {}, loading(6));
    this.rows = new Map(); // by job id, in the list's order
    this.selected = new Set();
    this.names = knownNames();
    this.next = undefined;
  }

  /** Milliseconds until the next look: soon only while something goes on. */
  get pace() {
    return [...this.rows.values()].some(({ job }) => !ENDED.has(job.status)) ? LIVE : QUIET;
  }

  get query() {
    return { status: STATUSES[this.filters.status] ?? this.filters.status, kind: this.filters.kind, limit: PAGE };
  }

  async refresh() {
    const { status, body, tag } = await listJobs(this.query, { tag: this.tag, signal: this.signal, tries: 1 });
    if (status === 304) return this.retell();
    this.tag = tag;
    if (!this.list) {
      this.list = h("div", { class: "jobs", role: "region", "aria-label": T.jobs.list });
      this.foot = h("div", { class: "foot" });
      this.next = body.nextToken;
    }
    this.take(body.jobs, { first: true });
    this.draw();
    return undefined;
  }

  async older() {
    const { body } = await listJobs({ ...this.query, nextToken: this.next }, { signal: this.signal });
    this.next = body.nextToken;
    this.take(body.jobs, { first: false });
    this.draw();
  }

  /** Adds and updates rows. The newest ones go to the top. */
  take(jobs, { first }) {
    const listed = new Set(jobs.map((job) => job.jobId));
    if (first) {
      // What is within this page's time but not on it any more no longer matches.
      const oldest = jobs.at(-1)?.createdAt ?? "";
      for (const [id, { job }] of this.rows) {
        if (!listed.has(id) && job.createdAt > oldest) this.drop(id);
      }
    }
    // A list for each page: the browser skips the layout of those that are out of sight.
    if (!first || !this.list.firstElementChild) this.list.append(h("ul"));
    const list = first ? this.list.firstElementChild : this.list.lastElementChild;
    let before = first ? list.firstElementChild : null;
    for (const job of jobs) {
      const known = this.rows.get(job.jobId);
      if (known) {
        known.update(job);
        if (known.element.parentElement === list) before = known.element.nextElementSibling;
      } else {
        const row = new Row(job, this);
        this.rows.set(job.jobId, row);
        list.insertBefore(row.element, before);
      }
    }
  }

  drop(id) {
    this.rows.get(id).element.remove();
    this.rows.delete(id);
    this.selected.delete(id);
  }

  draw() {
    this.retell();
    this.tellSelection();
    if (this.rows.size) {
      const more = button(T.jobs.more, () => this.older(), { class: "button" });
      fill(this.foot, this.next ? more : h("p", { class: "quiet" }, T.jobs.end));
      if (!this.list.isConnected) fill(this.body, this.list, this.foot);
      if (this.next) this.loadWhenSeen(more);
      return;
    }
    const filtered = this.filters.status || this.filters.kind;
    fill(
      this.body,
      filtered
        ? empty(T.jobs.none, T.jobs.noneHint, h("a", { class: "button", href: "#/jobs" }, T.jobs.noneLink))
        : empty(T.jobs.empty, T.jobs.emptyHint, h("a", { class: "button primary", href: "#/upload" }, T.jobs.emptyLink)),
    );
  }

  loadWhenSeen(more) {
    this.watch?.disconnect();
    this.watch = new IntersectionObserver((seen) => {
      if (seen.some((each) => each.isIntersecting)) more.click();
    }, { rootMargin: "400px" });
    this.watch.observe(more);
    this.signal.addEventListener("abort", () => this.watch.disconnect(), { once: true });
  }

  /** Brings "3 minutes ago" up to date in the newest rows. */
  retell() {
    let count = 0;
    for (const row of this.rows.values()) {
      row.retell();
      count += 1;
      if (count === PAGE) return;
    }
  }

  failed(error) {
    if (!error || error.isOutage || error.status === 429) tellOutage(error);
    else if (!error.isSignedOut) fill(this.body, failure(error, () => dispatchEvent(new Event("hashchange"))));
  }

  // ---- what is selected ----

  toggle(id) {
    const row = this.rows.get(id);
    if (this.selected.has(id)) this.selected.delete(id);
    else this.selected.add(id);
    row.box.checked = this.selected.has(id);
    this.tellSelection();
  }

  clear() {
    for (const id of this.selected) this.rows.get(id).box.checked = false;
    this.selected.clear();
    this.tellSelection();
  }

  tellSelection() {
    this.bar.hidden = !this.selected.size;
    if (!this.selected.size) return;
    const jobs = [...this.selected].map((id) => this.rows.get(id).job);
    const running = jobs.filter((job) => !ENDED.has(job.status)).map((job) => job.jobId);
    const ended = jobs.filter((job) => ENDED.has(job.status)).map((job) => job.jobId);
    fill(
      this.bar,
      h("span", { role: "status" }, T.jobs.selected(jobs.length)),
      running.length > 0 && button(`${T.jobs.cancel} (${running.length})`, () => this.act("cancel", running), { class: "button danger" }),
      ended.length > 0 && button(`${T.jobs.rerun} (${ended.length})`, () => this.act("rerun", ended), { class: "button" }),
      button(T.jobs.clear, () => this.clear(), { class: "button plain" }),
    );
  }

  async act(action, ids) {
    if (action === "cancel" && !(await confirmed(T.jobs.confirmCancel(ids.length), T.jobs.cancel))) return;
    const answers = ids.length > 1 ? await inBulk(action, ids) : [await one(action, ids[0])];
    const done = answers.filter((each) => each.status < 300).length;
    say(T.jobs.done(action, done, ids.length - done), { bad: done < ids.length });
    this.clear();
    this.tag = undefined;
    await this.refresh();
  }

  // ---- the keyboard ----

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input:not([type=checkbox]), select, textarea, dialog")) return;
    const rows = [...(this.list?.querySelectorAll("li") ?? [])];
    const at = rows.findIndex((each) => each.contains(document.activeElement));
    const step = { j: 1, k: -1 }[event.key];
    if (step && rows.length) {
      const to = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
      to.querySelector("a").focus();
      to.scrollIntoView({ block: "nearest" });
    } else if (event.key === "x" && at >= 0) {
      this.toggle(rows[at].dataset.id);
    } else if (event.key === "Escape" && this.selected.size) {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
  }
}

async function one(action, id) {
  const { status, body } = await (action === "cancel" ? cancelJob(id) : rerunJob(id));
  return { jobId: id, status, body };
}

class Row {
  constructor(job, list) {
    this.list = list;
    this.box = h("input", { type: "checkbox", onchange: () => list.toggle(job.jobId) });
    this.name = h("a", { href: `#/jobs/${encodeURIComponent(job.jobId)}` });
    this.about = h("span", { class: "about" });
    this.state = h("span", { class: "state" });
    this.time = h("span", { class: "time" });
    this.element = h(
      "li",
      { "data-id": job.jobId },
      h("label", { class: "pick" }, this.box),
      h("span", { class: "kind" }, icon(job.kind)),
      h("span", { class: "what" }, this.name, this.about),
      this.state,
      this.time,
    );
    this.update(job);
  }

  update(job) {
    const state = JSON.stringify(job);
    if (state === this.shown) return;
    this.shown = state;
    this.job = job;
    const name = jobName(job, this.list.names);
    this.box.setAttribute("aria-label", T.jobs.select(name));
    fill(this.name, name);
    fill(this.about, kindOf(job.kind), job.blocked === "capacity" && ` · ${T.jobs.blocked}`);
    fill(this.state, statusOf(job.status));
    this.retell();
  }

  retell() {
    const told = ago(this.job.createdAt);
    if (told === this.told) return;
    this.told = told;
    fill(this.time, moment(this.job.createdAt, told, when(this.job.createdAt)));
  }
}
