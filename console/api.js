// The client of the API: the page's only way to its data.

import { credentials, deployment, renew } from "./session.js";
import { T } from "./texts.js";

const BASE = new URL("..", location.origin + location.pathname);
const TRIES = 4;
const LONGEST_WAIT = 20_000;
const AGAIN = new Set([429, 502, 503, 504]);
/** What API Gateway says of a route that this deployment doesn't have. */
const NO_ROUTE = /missing authentication token/i;

/** An error of a request: `code` is stable, `message` and `details` are for people. */
export class ApiError extends Error {
  constructor(status, code, message, { details = [], requestId = "", wait = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, details, requestId, wait });
  }

  /** Whether the request names nobody, or nobody any more. */
  get isSignedOut() {
    return this.status === 401 || (this.status === 403 && this.code !== "FORBIDDEN" && !this.isNoRoute);
  }

  /** Whether this deployment has no such route. */
  get isNoRoute() {
    return this.code === "NO_ROUTE";
  }

  /** Whether the API can't be reached at all, or is not there at the moment. */
  get isOutage() {
    return this.status === 0 || this.status >= 502;
  }
}

/** Told when the credentials are no good any more. */
export const signedOut = new EventTarget();

const pause = (time, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, time);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/**
 * Sends a request; `{status, body, tag}`. `tag` in `asked` is the ETag of what the caller has: then a status 304 has no body.
 *
 * What may be repeated is sent again after an outage: every GET and DELETE, and a POST with an idempotency key.
 *
 * Throws ApiError.
 */
export async function call(method, path, asked = {}) {
  const repeatable = method !== "POST" || asked.key || asked.repeatable;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once(method, path, asked);
    } catch (error) {
      const again = error instanceof ApiError && (error.status === 0 || AGAIN.has(error.status));
      if (!repeatable || !again || attempt >= (asked.tries ?? TRIES)) throw error;
      await pause(Math.min(LONGEST_WAIT, error.wait || 400 * 2 ** attempt * (0.5 + Math.random() / 2)), asked.signal);
    }
  }
}

async function once(method, path, asked) {
  let answer = await send(method, path, asked);
  if (answer.status === 401 && deployment.auth === "cognito" && (await renew())) answer = await send(method, path, asked);
  if (answer.status === 304) return { status: 304, tag: asked.tag };
  const body = await json(answer);
  if (answer.ok) return { status: answer.status, body, tag: answer.headers.get("etag") };
  const error = problem(answer, body);
  if (error.isSignedOut) signedOut.dispatchEvent(new Event("signedout"));
  throw error;
}

async function send(method, path, { body, query, tag, key, signal }) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  const headers = { ...credentials() };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (tag) headers["if-none-match"] = tag;
  if (key) headers["idempotency-key"] = key;
  const text = body === undefined ? undefined : JSON.stringify(body);
  try {
    // no-store: the ETag is sent by us, so that a 304 is told from a 200.
    return await fetch(url, { method, headers, body: text, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "NETWORK", T.errors.NETWORK);
  }
}

async function json(answer) {
  try {
    return await answer.json();
  } catch {
    return null;
  }
}

function problem(answer, body) {
  const message = typeof body?.message === "string" ? body.message : "";
  const noRoute = (answer.status === 403 && NO_ROUTE.test(message)) || (answer.status === 404 && !body?.error);
  const code = noRoute ? "NO_ROUTE" : (body?.error ?? `HTTP_${answer.status}`);
  const wait = 1000 * (Number(answer.headers.get("retry-after")) || 0);
  return new ApiError(answer.status, code, T.errors[code] || message || T.errors.OTHER(answer.status), {
    details: Array.isArray(body?.details) ? body.details.map(String) : [],
    requestId: body?.requestId ?? "",
    wait,
  });
}

// ---- the routes ----

const job = (id) => `/jobs/${encodeURIComponent(id)}`;

export const getJob = (id, asked) => call("GET", job(id), asked);
export const listJobs = (query, asked) => call("GET", "/jobs", { ...asked, query });
export const cancelJob = (id) => call("DELETE", job(id));
// Repeating it gives the same job.
export const rerunJob = (id) => call("POST", `${job(id)}/rerun`, { repeatable: true });
export const getLogs = (id, cursor, asked) => call("GET", `${job(id)}/logs`, { ...asked, query: { cursor, limit: 1000 } });
export const search = (body, asked) => call("POST", "/search", { ...asked, body, repeatable: true });
export const getLanes = (asked) => call("GET", "/lanes", asked);
export const pauseLane = (name) => call("POST", `/lanes/${encodeURIComponent(name)}/pause`, { repeatable: true });
export const resumeLane = (name) => call("POST", `/lanes/${encodeURIComponent(name)}/resume`, { repeatable: true });
export const listGames = (user, query) => call("GET", `/users/${encodeURIComponent(user)}/games`, { query });

const BULK = 100;

/** Cancels or reruns many jobs; the answers, `{jobId, status, body}`, in the same order. */
export async function inBulk(action, ids) {
  const answers = [];
  for (let first = 0; first < ids.length; first += BULK) {
    const some = ids.slice(first, first + BULK);
    const requests = some.map((jobId) => ({ action, jobId }));
    // Both actions may be repeated.
    const { body } = await call("POST", "/jobs/bulk", { body: { requests }, repeatable: true });
    answers.push(...some.map((jobId, index) => ({ jobId, ...body.responses[index] })));
  }
  return answers;
}

/** Reads a file of a result by its signed link. Throws ApiError; `LINK_EXPIRED` if the job must be asked for a new one. */
export async function readLink(url, signal) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "omit", signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "NETWORK", T.errors.NETWORK);
  }
  if (answer.status === 403) throw new ApiError(403, "LINK_EXPIRED", T.errors.LINK_EXPIRED);
  if (!answer.ok) throw new ApiError(answer.status, "FILE", T.errors.FILE);
  return answer;
}

/**
 * Calls `look` again and again until `signal` aborts: every `pace()` milliseconds, not at all while the page is hidden, ever more
 * rarely during an outage. `look` gets an abort signal; what it throws goes to `failed`, and null once it works again.
 */
export async function poll(look, { pace, signal, failed }) {
  let failures = 0;
  while (!signal.aborted) {
    try {
      await look(signal);
      if (failures) failed(null);
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      failures += 1;
      failed(error);
      if (!error.isOutage && error.status !== 429) return;
    }
    const wait = failures ? Math.min(LONGEST_WAIT, 1000 * 2 ** failures) : pace();
    await rest(wait, signal);
    await visible(signal);
  }
}

/** Waits, but no longer than until the network is back or `signal` aborts. */
function rest(time, signal) {
  return new Promise((resolve) => {
    const done = new AbortController();
    const end = () => (clearTimeout(timer), done.abort(), resolve());
    const timer = setTimeout(end, time);
    addEventListener("online", end, { signal: done.signal });
    signal.addEventListener("abort", end, { signal: done.signal });
  });
}

function visible(signal) {
  if (document.visibilityState === "visible") return undefined;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}
