// Uploads files in parts, straight to the bucket. They go on while other screens are shown, and after a reload.

import { ApiError, call } from "./api.js";
import { T } from "./texts.js";
import { rememberName } from "./ui.js";

const TYPES = {
  mp4: "video/mp4",
  mov: "video/quicktime",
  avi: "video/x-msvideo",
  mkv: "video/x-matroska",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
};
const WHOLE = 16 * 2 ** 20; // up to here a file is sent in one piece
const PARTS_AT_ONCE = 4;
const FILES_AT_ONCE = 2;
const SIGNED_AT_ONCE = 16;
const TRIES = 6;
const SPEED_OVER = 5000;
const BEGUN = "switchyard.uploads";
const PARTS = "/uploads/multipart";

/** All uploads of this page, newest first, and those that another one began and left. Tells of changes by `change` events. */
export const uploads = new (class extends EventTarget {
  all = [];

  changed() {
    this.dispatchEvent(new Event("change"));
  }
})();

export const accepted = Object.keys(TYPES).map((each) => `.${each}`).join(",");

const typeOf = (name) => TYPES[name.split(".").pop().toLowerCase()];
const isSame = (file, begun) => file.name === begun.name && file.size === begun.size && file.lastModified === begun.lastModified;

/** Why a file can't be uploaded, before a byte of it is sent; empty if nothing speaks against it. */
export function refusal(file) {
  if (!typeOf(file.name)) return T.upload.refused.type;
  return file.size ? "" : T.upload.refused.empty;
}

// ---- what was begun ----

function begun() {
  try {
    return JSON.parse(localStorage.getItem(BEGUN)) ?? [];
  } catch {
    return [];
  }
}

function note(entry) {
  localStorage.setItem(BEGUN, JSON.stringify([entry, ...begun().filter(({ key }) => key !== entry.key)]));
}

function forget(key) {
  localStorage.setItem(BEGUN, JSON.stringify(begun().filter((each) => each.key !== key)));
}

/** Adds files, each as an upload of its own. One that was begun before goes on where it was. */
export function add(files) {
  for (const file of files) {
    const lost = uploads.all.find((each) => each.state === "lost" && isSame(file, each.entry));
    if (lost) lost.goOn(file);
    else uploads.all.unshift(new Upload(file));
  }
  next();
  uploads.changed();
}

/** Lists what an earlier page began and didn't finish. */
export function recall() {
  for (const entry of begun()) {
    if (!uploads.all.some((each) => each.entry?.key === entry.key)) uploads.all.push(new Upload(null, entry));
  }
}

function next() {
  const busy = uploads.all.filter((each) => each.isBusy).length;
  uploads.all.filter((each) => each.state === "queued").reverse().slice(0, Math.max(0, FILES_AT_ONCE - busy)).forEach((each) => each.run());
}

addEventListener("beforeunload", (event) => {
  if (uploads.all.some((each) => each.isBusy || each.state === "queued")) event.preventDefault();
});

// ---- one upload ----

class Upload {
  constructor(file, entry = null) {
    this.file = file;
    this.entry = entry; // what is kept of it: name, size, lastModified, key, uploadId, partSize, jobId
    this.name = entry?.name ?? file.name;
    this.size = entry?.size ?? file.size;
    this.type = typeOf(this.name);
    this.reason = file ? refusal(file) : "";
    this.state = entry ? "lost" : this.reason ? "refused" : "queued";
    this.jobId = entry?.jobId;
    this.sent = new Map(); // bytes by part
    this.samples = [];
  }

  get isBusy() {
    return ["preparing", "sending", "finishing"].includes(this.state);
  }

  get isPicture() {
    return Boolean(this.type?.startsWith("image/"));
  }

  get bytes() {
    return [...this.sent.values()].reduce((sum, each) => sum + each, 0);
  }

  /** Bytes a second over the last seconds. */
  get speed() {
    const now = performance.now();
    this.samples = this.samples.filter(([time]) => now - time < SPEED_OVER);
    if (this.samples.length < 2) return 0;
    const [[from, before], [to, after]] = [this.samples[0], this.samples.at(-1)];
    return to > from ? Math.max(0, ((after - before) * 1000) / (to - from)) : 0;
  }

  become(state, reason = "") {
    this.state = state;
    this.reason = reason;
    uploads.changed();
  }

  told(part, bytes) {
    this.sent.set(part, bytes);
    this.samples.push([performance.now(), this.bytes]);
    uploads.changed();
  }

  goOn(file) {
    this.file = file;
    this.become("queued");
  }

  again() {
    this.become("queued");
    next();
  }

  async run() {
    this.ended = new AbortController();
    this.become("preparing");
    try {
      if (this.size <= WHOLE && !this.entry?.uploadId) await this.sendWhole();
      else await this.sendParts();
      rememberName(this.jobId, this.name);
      if (this.entry) forget(this.entry.key);
      this.become("done");
    } catch (error) {
      const stopped = this.ended.signal.aborted;
      this.become(stopped ? "stopped" : error.status === 413 ? "refused" : "failed", stopped ? "" : error.message);
      this.ended.abort();
    }
    next();
  }

  /** Stops it. What has arrived of it is deleted, because stored parts cost money. */
  async stop() {
    this.ended?.abort();
    const { key, uploadId } = this.entry ?? {};
    if (key) forget(key);
    this.entry = null;
    this.sent.clear();
    this.become("stopped");
    if (uploadId) await call("DELETE", PARTS, { query: { key, uploadId } }).catch(() => {});
  }

  remove() {
    uploads.all.splice(uploads.all.indexOf(this), 1);
    if (this.state === "lost") this.stop();
    uploads.changed();
  }

  // ---- in one piece ----

  async sendWhole() {
    const body = { filename: this.name, contentType: this.type, size: this.size };
    const { body: signed } = await call("POST", "/uploads/presign", { body, repeatable: true });
    this.take(signed);
    this.become("sending");
    // 412: an earlier try has arrived, although its answer was lost.
    await this.put(1, this.file, signed, { also: 412 });
  }

  take({ key, bucket, jobId }) {
    Object.assign(this, { key, bucket, jobId });
  }

  // ---- in parts ----

  async sendParts() {
    const arrived = await this.begin();
    this.become("sending");
    const { key, uploadId, partSize } = this.entry;
    const count = Math.ceil(this.size / partSize);
    const left = Array.from({ length: count }, (_, index) => index + 1).filter((each) => !arrived.has(each));
    for (const [part, { size }] of arrived) this.sent.set(part, size);
    const signed = new Map();
    const worker = async () => {
      while (left.length) {
        const part = left.shift();
        const from = (part - 1) * partSize;
        const piece = this.file.slice(from, Math.min(this.size, from + partSize));
        const etag = await this.put(part, piece, () => this.signed(signed, part, left));
        arrived.set(part, { etag });
      }
    };
    await Promise.all(Array.from({ length: PARTS_AT_ONCE }, worker));
    this.become("finishing");
    const parts = Array.from({ length: count }, (_, index) => ({ partNumber: index + 1, etag: arrived.get(index + 1).etag }));
    await call("POST", `${PARTS}/complete`, { body: { key, uploadId, size: this.size, parts }, repeatable: true });
  }

  /** Begins it, or finds out what has arrived of it: size and ETag by part. */
  async begin() {
    if (this.entry) {
      try {
        const found = await this.listed();
        this.take(this.entry);
        return found;
      } catch (error) {
        if (error.code !== "UPLOAD_NOT_FOUND") throw error;
        forget(this.entry.key); // finished or deleted meanwhile
      }
    }
    const body = { filename: this.name, contentType: this.type, size: this.size };
    const { body: made } = await call("POST", PARTS, { body });
    const { key, uploadId, partSize, jobId, bucket } = made;
    this.entry = { name: this.name, size: this.size, lastModified: this.file.lastModified, key, uploadId, partSize, jobId, bucket };
    note(this.entry);
    this.take(made);
    return new Map();
  }

  async listed() {
    const { key, uploadId } = this.entry;
    const found = new Map();
    let nextToken;
    do {
      const { body } = await call("GET", PARTS, { query: { key, uploadId, nextToken } });
      for (const { partNumber, size, etag } of body.parts) found.set(partNumber, { size, etag });
      nextToken = body.nextToken;
    } while (nextToken);
    return found;
  }

  /** A part's signed URL. Those of the next parts are asked for with it. */
  async signed(known, part, left) {
    if (!known.has(part)) {
      const { key, uploadId } = this.entry;
      const parts = [part, ...left.slice(0, SIGNED_AT_ONCE - 1)].map((partNumber) => ({ partNumber }));
      const { body } = await call("POST", `${PARTS}/parts`, { body: { key, uploadId, parts }, repeatable: true });
      for (const each of body.parts) known.set(each.partNumber, each);
    }
    const found = known.get(part);
    known.delete(part); // a second try gets a URL of its own: this one may have expired
    return found;
  }

  // ---- to the bucket ----

  /** Sends bytes, again after an outage; their ETag. `where` is a signed request, or makes one for each try. */
  async put(part, piece, where, { also } = {}) {
    for (let attempt = 1; ; attempt += 1) {
      const signed = typeof where === "function" ? await where() : where;
      const { status, etag } = await this.sendOnce(part, piece, signed);
      if ((status >= 200 && status < 300) || status === also) return etag;
      const lasting = status >= 400 && status < 500 && ![403, 408, 429].includes(status);
      if (lasting || attempt >= TRIES || this.ended.signal.aborted) throw new ApiError(status, "UPLOAD", T.errors.OTHER(status));
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt * (0.5 + Math.random() / 2)));
    }
  }

  /** One try; status 0 without an answer. fetch tells no progress of what it sends. */
  sendOnce(part, piece, { url, headers }) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.open("PUT", url);
      for (const [name, value] of Object.entries(headers)) {
        if (name.toLowerCase() !== "content-length") request.setRequestHeader(name, value);
      }
      request.upload.onprogress = ({ loaded }) => this.told(part, loaded);
      request.onloadend = () => {
        const arrived = request.status >= 200 && request.status < 300;
        this.told(part, arrived ? piece.size : 0);
        resolve({ status: request.status, etag: request.getResponseHeader("etag") });
      };
      this.ended.signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(piece);
    });
  }
}

// ---- files of a drop ----

/** The files of what was dropped, those in folders too. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((each) => each.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesIn))).flat();
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return (await Promise.all(found.map(filesIn))).flat();
    found.push(...some);
  }
}
