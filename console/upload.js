// The screen to upload files, and to record streams.

import { call } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { size, span } from "./format.js";
import { userId } from "./session.js";
import { T } from "./texts.js";
import { button, complain, rememberName, say, section } from "./ui.js";
import { accepted, add, dropped, recall, uploads } from "./uploading.js";

/** Whose jobs an API key's are, which names no user. */
const NOBODY = "console";
const MOST_PICTURES = 1000;

export async function show(main, { signal }) {
  recall();
  const list = h("ul", { class: "uploads" });
  const pictures = h("div", { class: "row" });
  const sent = section(T.upload.list, pictures, list);
  const rows = new Map();
  const draw = () => {
    sent.hidden = !uploads.all.length;
    for (const [upload, row] of rows) {
      if (!uploads.all.includes(upload)) {
        row.element.remove();
        rows.delete(upload);
      }
    }
    uploads.all.forEach((upload, index) => {
      if (!rows.has(upload)) {
        rows.set(upload, new Row(upload));
        list.insertBefore(rows.get(upload).element, list.children[index] ?? null);
      }
      rows.get(upload).draw();
    });
    offerPictures(pictures);
  };
  uploads.addEventListener("change", draw, { signal });
  fill(main, h("h1", {}, T.upload.title), dropZone(signal), sent, streamForm());
  draw();
}

function dropZone(signal) {
  const pick = (given) => h("input", { type: "file", multiple: true, class: "hidden", tabindex: "-1", "aria-hidden": "true", onchange: ({ target }) => (add(target.files), (target.value = "")), ...given });
  const files = pick({ accept: accepted, "data-pick": "files" });
  const folder = pick({ webkitdirectory: true });
  const zone = h(
    "div",
    { class: "drop" },
    icon("upload"),
    h("p", { class: "big" }, T.upload.drop),
    h("p", { class: "quiet" }, T.upload.dropHint),
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "button primary", onclick: () => files.click() }, T.upload.choose),
      h("button", { type: "button", class: "button", onclick: () => folder.click() }, T.upload.chooseFolder),
    ),
    files,
    folder,
  );
  const over = (on) => (event) => {
    event.preventDefault();
    zone.classList.toggle("over", on);
  };
  addEventListener("dragover", over(true), { signal });
  addEventListener("dragleave", over(false), { signal });
  addEventListener("drop", async (event) => {
    over(false)(event);
    add(await dropped(event.dataTransfer));
  }, { signal });
  return zone;
}

class Row {
  constructor(upload) {
    this.upload = upload;
    this.bar = h("progress", { max: upload.size || 1, "aria-label": upload.name });
    this.state = h("p", { class: "quiet" });
    this.actions = h("div", { class: "row" });
    this.element = h("li", {}, h("span", { class: "kind" }, icon(upload.isPicture ? "image-processing" : "video-analysis")), h("div", {}, h("strong", {}, upload.name), this.bar, this.state), this.actions);
  }

  draw() {
    const { upload } = this;
    const { state, reason, bytes, speed } = upload;
    this.element.dataset.state = state;
    this.bar.hidden = !upload.isBusy;
    this.bar.value = bytes;
    const told = [T.upload.states[state]];
    if (state === "sending") {
      told.push(T.upload.of(size(bytes), size(upload.size)));
      if (speed) told.push(T.upload.speed(size(speed), span((upload.size - bytes) / speed)));
    } else if (state === "done") {
      told.push(size(upload.size));
    }
    fill(this.state, told.join(" · "), reason && ` · ${reason}`);
    if (state === this.drawn) return;
    this.drawn = state;
    const plain = { class: "button plain" };
    fill(
      this.actions,
      (upload.isBusy || state === "queued") && button(T.upload.stop, () => upload.stop(), plain),
      (state === "failed" || state === "stopped") && button(T.upload.retry, () => upload.again(), plain),
      state === "done" && !upload.isPicture && h("a", { class: "button", href: `#/jobs/${encodeURIComponent(upload.jobId)}` }, T.upload.job),
      !upload.isBusy && state !== "queued" && button(T.upload.remove, () => upload.remove(), plain),
    );
  }
}

/** Pictures become a job together, once they are there. */
function offerPictures(place) {
  const ready = uploads.all.filter((each) => each.isPicture && each.state === "done" && !each.isUsed).slice(0, MOST_PICTURES);
  if (ready.length === Number(place.dataset.count ?? 0)) return;
  place.dataset.count = ready.length;
  fill(place, ready.length > 0 && button(T.upload.find(ready.length), () => findObjects(ready), { class: "button primary" }));
}

async function findObjects(ready) {
  const body = { imageUrls: ready.map(({ bucket, key }) => `s3://${bucket}/${key}`), userId: userId() ?? NOBODY };
  const { body: made } = await call("POST", "/process", { body, key: crypto.randomUUID() });
  rememberName(made.jobId, ready.length === 1 ? ready[0].name : `${ready[0].name} + ${ready.length - 1}`);
  for (const each of ready) each.isUsed = true;
  uploads.changed();
  say(T.upload.finding);
  location.hash = `#/jobs/${encodeURIComponent(made.jobId)}`;
}

function streamForm() {
  const url = h("input", { id: "stream", type: "url", required: true, pattern: "https?://.+", maxlength: 2048, "aria-describedby": "stream-hint" });
  const name = h("input", { id: "stream-name", maxlength: 255 });
  const submit = h("button", { class: "button" }, T.upload.streamGo);
  let key = crypto.randomUUID();
  const send = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const body = { url: url.value, userId: userId() ?? NOBODY, ...(name.value ? { filename: name.value } : {}) };
      const { body: made } = await call("POST", "/jobs", { body, key });
      rememberName(made.jobId, name.value || new URL(url.value).hostname);
      location.hash = `#/jobs/${encodeURIComponent(made.jobId)}`;
    } catch (error) {
      complain(error);
      key = crypto.randomUUID();
    } finally {
      submit.disabled = false;
    }
  };
  return section(
    T.upload.stream,
    h(
      "form",
      { class: "fields", onsubmit: send },
      h("div", {}, h("label", { for: "stream" }, T.upload.streamUrl), url, h("p", { id: "stream-hint", class: "quiet" }, T.upload.streamPublic)),
      h("div", {}, h("label", { for: "stream-name" }, T.upload.streamName), name),
      submit,
    ),
  );
}
