// What came out of recordings, torrents and imports of Steam libraries.

import { listGames, readLink } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { ago, number, size, span, when } from "./format.js";
import { Player } from "./player.js";
import { T } from "./texts.js";
import { ENDED, button, complain, copyButton, facts, section } from "./ui.js";

const PLAYS = /\.(mp4|m4v|webm|mov|mp3|m4a)$/i;
const SHOW = { "stream-recording": recording, torrent, "torrent-seeding": torrent, steam_import: steam };
const SORTS = ["name", "playtime", "lastPlayed"];

export async function show(place, page) {
  fill(place, await SHOW[page.job.kind](page));
}

// ---- recordings ----

function recording(page) {
  const { job } = page;
  const { bytes, seconds, ended, gaps, partial } = { ...job.progress, ...job.result };
  const names = Object.keys(job.links ?? {});
  const playable = names.find((name) => PLAYS.test(name));
  const source = async (anew) => (anew ? await page.fresh() : page.job).links[playable];
  const player = playable && new Player((anew) => (anew ? source(true) : job.links[playable]), { signal: page.signal, label: T.recording.title });
  let hint = "";
  if (!ENDED.has(job.status)) hint = T.recording.growing;
  else if (partial && names.length) hint = T.recording.pieces;
  else if (names.length && !playable) hint = T.recording.cantPlay;
  const single = ENDED.has(job.status) && names.length === 1;
  return section(
    T.recording.title,
    player?.element,
    facts([
      [T.recording.length, Number.isFinite(seconds) && span(seconds)],
      [T.recording.bytes, Number.isFinite(bytes) && size(bytes)],
      [T.recording.ended, typeof ended === "string" && ended],
      [T.recording.gaps, gaps && T.recording.gapsOf(gaps.segments ?? 0, span(gaps.seconds ?? 0))],
    ]),
    hint && h("p", { class: "quiet" }, hint),
    single && h("a", { class: "button primary", href: job.links[names[0]], download: names[0], target: "_blank", rel: "noopener" }, icon("download"), names[0]),
  );
}

// ---- torrents ----

function torrent({ job }) {
  const { magnet, infohash, infohashV2, pieces, pieceLength, size: bytes, seeding, peers } = { ...job.progress, ...job.result };
  if (!infohash && !magnet) return null;
  const isMagnet = typeof magnet === "string" && magnet.startsWith("magnet:?");
  return section(
    T.torrent.title,
    isMagnet && h("p", { class: "magnet" }, h("code", {}, magnet)),
    h(
      "div",
      { class: "row" },
      isMagnet && [copyButton(T.torrent.copyMagnet, magnet), h("a", { class: "button", href: magnet }, T.torrent.open)],
      Object.entries(job.links ?? {}).map(([name, link]) => h("a", { class: "button", href: link, download: name, target: "_blank", rel: "noopener" }, icon("download"), name)),
    ),
    facts([
      [T.torrent.infohash, infohash && h("code", {}, infohash)],
      [`${T.torrent.infohash} (v2)`, infohashV2 && h("code", {}, infohashV2)],
      [T.torrent.size, Number.isFinite(bytes) && size(bytes)],
      [T.torrent.pieces, Number.isFinite(pieces) && T.torrent.piecesOf(number(pieces), size(pieceLength))],
      [T.torrent.seeders, Number.isFinite(peers) && number(peers)],
      [T.torrent.seeding, typeof seeding === "string" && h("a", { href: `#/jobs/${encodeURIComponent(seeding)}` }, seeding)],
    ]),
  );
}

// ---- Steam libraries ----

async function steam(page) {
  const { job } = page;
  if (job.status !== "COMPLETED") return null;
  const result = job.result ?? {};
  const counts = Object.entries(T.steam.counts).filter(([name]) => Number.isInteger(result[name]));
  const [link] = Object.values(job.links ?? {});
  const changes = link ? await readLink(link, page.signal).then((answer) => answer.json()).catch(() => null) : null;
  const summary = section(
    T.steam.title,
    facts([[T.steam.account, result.personaName ?? result.steamId], ...counts.map(([name, label]) => [label, number(result[name])])]),
    result.heldRemovals ? h("p", { class: "bad" }, T.steam.held(Number(result.heldRemovals) || (result.heldRemovals.length ?? 0))) : null,
  );
  return [summary, changesOf(changes), games(page)];
}

function changesOf(changes) {
  const lists = Object.entries(changes ?? {}).filter(([, value]) => Array.isArray(value) && value.length);
  if (!lists.length) return null;
  return section(
    T.steam.changes,
    lists.map(([name, found]) => [
      h("h3", {}, T.steam.counts[name] ?? name, h("span", { class: "count" }, found.length)),
      h("ul", { class: "changes", "data-change": name }, found.slice(0, 200).map((each) => h("li", {}, gameName(each)))),
    ]),
  );
}

function gameName(each) {
  if (typeof each === "string" || typeof each === "number") return String(each);
  return String(each?.name || each?.appid || JSON.stringify(each));
}

function games(page) {
  if (!page.job.userId) return null;
  const rows = h("tbody");
  const foot = h("div", { class: "foot" });
  const sort = h("select", { id: "sort" }, SORTS.map((name) => h("option", { value: name }, T.steam.sorts[name])));
  const load = async (nextToken) => {
    const query = { sort: sort.value, limit: 50, steamId: page.job.result?.steamId, nextToken };
    const { body } = await listGames(page.job.userId, query);
    if (!nextToken) fill(rows);
    rows.append(...body.games.map(game));
    fill(foot, body.nextToken && button(T.steam.more, () => load(body.nextToken), { class: "button" }));
  };
  sort.addEventListener("change", () => load().catch(complain));
  load().catch(complain);
  return section(
    T.steam.games,
    h("div", { class: "row" }, h("label", { for: "sort" }, T.steam.sort), sort),
    h("table", {}, h("thead", {}, h("tr", {}, [T.steam.game, T.steam.played, T.steam.last].map((name) => h("th", { scope: "col" }, name)))), rows),
    foot,
  );
}

function game({ name, appid, playtimeMinutes, lastPlayedAt }) {
  const last = lastPlayedAt ? h("time", { datetime: lastPlayedAt, title: when(lastPlayedAt) }, ago(lastPlayedAt)) : "–";
  return h("tr", {}, h("th", { scope: "row" }, name || String(appid)), h("td", {}, playtimeMinutes?.total ? span(playtimeMinutes.total * 60) : "–"), h("td", {}, last));
}
