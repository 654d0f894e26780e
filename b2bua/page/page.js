"use strict";
// All that is shown is put in as text, never as markup: numbers and names are what strangers wrote.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const ARROWS = 300;
let role = "", csrf = "", stream = null, epochShown = 0, found = null, status = null;

function put(parent, name, text, look) {
  const child = parent.appendChild(document.createElement(name));
  if (text !== undefined) child.textContent = text;
  if (look) child.className = look;
  return child;
}
function draw(parent, name, attributes, text) {
  const child = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
  if (text !== undefined) child.textContent = text;
  return child;
}
const clock = (at, fine) => at == null ? "" : new Date(at * 1000).toLocaleTimeString([], { hour12: false })
  + (fine ? "." + String(Math.floor(at * 1000) % 1000).padStart(3, "0") : "");
function span(seconds) {
  if (seconds == null) return "–";
  if (seconds < 10) return seconds.toFixed(2) + " s";
  if (seconds < 120) return Math.round(seconds) + " s";
  return seconds < 7200 ? Math.floor(seconds / 60) + " min" : Math.floor(seconds / 3600) + " h";
}
const count = (number) => Number(number).toLocaleString("en");

async function ask(path, body) {
  const options = { headers: { "Accept": "application/json" }, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
    if (csrf) options.headers["X-CSRF-Token"] = csrf;
  }
  const response = await fetch(path, options);
  const value = await response.json();
  if (!response.ok) {
    const error = new Error(value.error || response.statusText);
    error.status = response.status;
    throw error;
  }
  return value;
}
const view = (page, params) => ask("../v1/" + page + "?" + new URLSearchParams(params || {}));

function rows(table, titles, lines) {
  table.replaceChildren();
  const head = put(put(table, "thead"), "tr");
  for (const title of titles) put(head, "th", title);
  const body = put(table, "tbody");
  for (const cells of lines) {
    const row = put(body, "tr");
    for (const cell of cells) {
      if (cell instanceof Node) put(row, "td").appendChild(cell);
      else if (Array.isArray(cell)) put(row, "td", cell[0], cell[1]);
      else put(row, "td", cell);
    }
  }
  if (!lines.length) { const none = put(put(body, "tr"), "td", "none", "faint"); none.colSpan = titles.length; }
}
function button(text, act, look) {
  const made = document.createElement("button");
  made.textContent = text;
  if (look) made.className = look;
  made.addEventListener("click", act);
  return made;
}

// ---- what comes every second
function show(value) {
  status = value.status;
  const healthy = !status.alerts.length;
  $("site").textContent = status.site;
  document.title = (healthy ? "" : "⚠ ") + status.site;
  const head = $("head");
  head.textContent = (status.active ? status.active + " is active" : "no server is active") + ", epoch " + status.epoch
    + (healthy ? ", healthy" : ", " + status.alerts.length + " warnings") + "; as " + status.node + " sees it";
  head.className = !status.active ? "bad" : healthy ? "good" : "warn";
  const alerts = $("alerts");
  alerts.replaceChildren();
  for (const alert of status.alerts) put(alerts, "li", alert.text);
  nodes();
  if (!found) calls(value.calls, "");
  const own = status.process || {};  // the present ends each curve, between two points of the server's
  trends([...value.trend, [0, status.calls.total, status.rates.calls_per_s, 100 * (own.cpu || 0), 1000 * (own.stall_last_minute || 0)]]);
  if (status.epoch !== epochShown) { epochShown = status.epoch; takeover(); lines(); }
}
function nodes() {
  const box = $("nodes");
  box.replaceChildren();
  const card = (name, state, now, sentences) => {
    const made = put(box, "div", undefined, now ? "card now" : "card");
    put(made, "b", name);
    put(made, "span", "  " + state, now ? "good" : state === "not reached" ? "bad" : "faint");
    for (const sentence of sentences) put(made, "p", sentence);
  };
  const own = status.process || {};
  card(status.node, status.state, status.state === "active", [
    count(status.calls.total) + " of " + count(status.capacity) + " calls, " + status.rates.calls_per_s.toFixed(1) + " new/s",
    "CPU " + Math.round((own.cpu || 0) * 100) + "%, longest stall " + Math.round((own.stall_last_minute || 0) * 1000) + " ms",
    "since " + clock(status.since_at) + ", version " + status.version]);
  for (const peer of status.peers) {
    const state = peer.reached ? peer.state || "reached" : "not reached";
    card(peer.name, state, peer.state === "active" && peer.reached, [
      (peer.kind === "agent" ? (peer.obeys ? "obeys " + peer.obeys : "obeys nobody known here") : peer.role)
        + (peer.voter ? ", votes" : ""),
      count(peer.calls) + " calls, heard " + span(peer.heard_ago) + " ago"]);
  }
}
function calls(page, wanted) {
  $("calls-said").textContent = wanted ? page.matched + " match " + wanted
    : count(status.calls.talking) + " talking, " + count(status.calls.ringing) + " ringing, the last "
      + page.calls.length + " of " + count(page.matched);
  rows($("calls"), ["From", "To", "State", "Lines", "Since", "Call", ""], page.calls.map((call) => [
    call.caller, call.callee, [call.state, call.state === "talking" ? "good" : "warn"],
    (call.caller_line || "?") + " → " + (call.callee_line || "?"), clock(call.started_at),
    button(call.id.slice(0, 12), () => open(call.id)),
    role === "operator" ? button("hang up", () => order("hangup", { call: call.id },
      "Hang up the call from " + call.caller + " to " + call.callee + "?"), "grave") : ""]));
}
function trends(points) {
  const box = $("trends");
  box.replaceChildren();
  const names = ["calls", "new calls a second", "CPU, %", "longest stall, ms"];
  names.forEach((name, index) => {
    const card = put(box, "div", undefined, "card");
    const values = points.map((point) => point[index + 1]);
    const most = Math.max(...values, 1e-9);
    put(card, "p", name + ": " + (values.length ? +values[values.length - 1].toFixed(1) : "–") + ", most " + +most.toFixed(1));
    const svg = draw(card, "svg", { viewBox: "0 0 360 60", width: "100%", role: "img", "aria-label": name });
    draw(svg, "line", { x1: 0, x2: 360, y1: 59, y2: 59 });
    const path = values.map((value, at) => (at ? "L" : "M") + (360 - values.length + at) + " " + (58 - 54 * value / most).toFixed(1));
    if (path.length) draw(svg, "path", { d: path.join(""), class: "trend" });
  });
}

// ---- what is asked for
async function lines() {
  try {
    const all = (await view("lines")).lines;
    const shown = all.filter((line) => line.kind === "trunk" || !line.in_service || line.busy).slice(0, 200);
    $("lines-said").textContent = count(all.length) + " lines; trunks, and those that are busy or out of service, are shown";
    rows($("lines"), ["Line", "Kind", "Agent", "State", "Busy", "Why", ""], shown.map((line) => [
      line.name, line.kind, line.agent || "servers", [line.in_service ? line.state : "out of service", !line.in_service ? "bad" : line.state === "draining" ? "warn" : ""],
      line.busy + "/" + line.channels, line.why,
      role !== "operator" ? "" : status.alerts.some((alert) => alert.code === "line-busied-out" && alert.text.split(/[\s,:;]+/).includes(line.name))
        ? button("end busyout", () => order("busyout", { line: line.name, end: "yes" }))
        : button("busy out", () => order("busyout", { line: line.name }, "No new calls on " + line.name + " until busyout ends?"))]));
  } catch (error) { said(error); }
}
async function takeover() {
  const box = $("takeover");
  let report;
  try { report = await view("report", { limit: "1" }); }
  catch (error) { box.replaceChildren(); put(box, "p", error.message, "faint"); return; }
  box.replaceChildren();
  const begun = report.suspected_at || report.decided_at, verdicts = Object.entries(report.verdicts);
  put(box, "p", (report.old || "nobody") + " → " + report.new + ", epoch " + report.epoch + ", " + report.kind + ", "
    + clock(report.decided_at) + ": " + (verdicts.map(([word, number]) => count(number) + " " + word).join(", ") || "no calls"));
  put(box, "p", report.because);
  const story = put(box, "ol");
  for (const seen of report.evidence) put(story, "li", clock(seen.at, true) + "  " + seen.by + ": " + seen.text);
  if (report.grants.length) put(story, "li", clock(report.granted_at, true) + "  granted by " + report.grants.join(", "));
  const steps = [["suspected", report.suspected_at, null], ["decided", report.decided_at, null], ["granted", report.granted_at, null],
    ...report.agents.map((agent) => [agent.agent + " told " + count(agent.calls) + " calls", agent.asked_at, agent.complete_at]),
    ["serves", report.active_at, null]].filter((step) => step[1] != null);
  const last = Math.max(...steps.map((step) => step[2] || step[1])), scale = 360 / Math.max(last - begun, .001);
  const svg = draw(put(box, "div", undefined, "wide"), "svg", { width: 640, height: 24 * steps.length + 8, role: "img", "aria-label": "ladder of the takeover" });
  steps.forEach(([name, at, until], index) => {
    const y = 16 + 24 * index, x = 180 + (at - begun) * scale;
    draw(svg, "text", { x: 0, y }, name);
    draw(svg, "line", { x1: 180, x2: 540, y1: y + 5, y2: y + 5 });
    draw(svg, "rect", { x, y: y - 9, width: Math.max(3, ((until || at) - at) * scale), height: 11, rx: 2 });
    draw(svg, "text", { x: 550, y, class: "faint" }, "+" + ((until || at) - begun).toFixed(3) + " s");
  });
}
async function open(id) {
  $("call-title").textContent = "Call " + id;
  $("call-story").replaceChildren();
  $("call-ladder").replaceChildren();
  $("call-message").hidden = true;
  $("call-said").textContent = "asking …";
  if (!$("call").open) $("call").showModal();
  try {
    for (const sentence of (await view("explain", { id })).sentences)
      put($("call-story"), "li", (sentence.at ? clock(sentence.at, true) + "  " : "") + sentence.text);
  } catch (error) { put($("call-story"), "li", error.message); }
  try { ladder(await view("ladder", { id })); }
  catch (error) { $("call-said").textContent = error.message; }
}
function ladder(value) {
  const hops = value.hops.slice(0, ARROWS), gap = 150;
  $("call-said").textContent = [value.hops.length + " messages" + (value.hops.length > ARROWS ? ", the first " + ARROWS + " are drawn" : "")
    + "; press one to read it.", ...value.missing].join(" ");
  const middle = (name) => 110 + gap * value.lanes.indexOf(name) + gap / 2;
  const svg = draw($("call-ladder"), "svg", { width: 110 + gap * value.lanes.length, height: 30 + 22 * hops.length, role: "img", "aria-label": "ladder" });
  for (const lane of value.lanes) {
    draw(svg, "text", { x: middle(lane), y: 14, "text-anchor": "middle" }, lane);
    draw(svg, "line", { x1: middle(lane), x2: middle(lane), y1: 20, y2: 30 + 22 * hops.length });
  }
  hops.forEach((hop, index) => {
    const y = 40 + 22 * index, from = middle(hop.source), to = middle(hop.target), way = Math.sign(to - from) || 1;
    const group = draw(svg, "g", { class: "hop", tabindex: 0 });
    draw(group, "text", { x: 0, y, class: "faint" }, clock(hop.time, true));
    draw(group, "line", { x1: from, x2: to, y1: y, y2: y, class: "arrow" + (/^[3-6]/.test(hop.what) ? " bad" : /^2/.test(hop.what) ? " good" : "") });
    draw(group, "path", { d: `M${to} ${y}l${-7 * way} -4v8z`, class: "head" });
    draw(group, "text", { x: (from + to) / 2, y: y - 4, "text-anchor": "middle" }, hop.what);
    const read = () => { $("call-message").hidden = false; $("call-message").textContent = hop.text; };
    group.addEventListener("click", read);
    group.addEventListener("keydown", (event) => { if (event.key === "Enter") read(); });
  });
}
// the scores of the caller and the callee, where a relay measured them
function heard(record) {
  const scores = ["caller", "callee"].filter((side) => record[side + "_packets"] !== null)
    .map((side) => side + " " + (record[side + "_mos"] === null ? "not heard" : "MOS " + record[side + "_mos"].toFixed(1)));
  return scores.length ? ", " + scores.join(", ") : "";
}
$("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = $("wanted").value.trim();
  found = wanted || null;
  if (!wanted) return;
  try {
    const page = await view("calls", { number: wanted, limit: "100" });
    if (!page.matched && !/^[+*#]?\d{1,15}$/.test(wanted)) { found = null; open(wanted); return; }
    const past = await view("cdrs", { to: wanted, limit: "50" }), from = await view("cdrs", { from: wanted, limit: "50" });
    calls(page, wanted);
    const body = $("calls").tBodies[0];
    for (const record of [...past.cdrs, ...from.cdrs].sort((a, b) => (b.started || 0) - (a.started || 0))) {
      const row = put(body, "tr");
      for (const text of [record.caller, record.callee, record.result + " " + record.status,
        (record.caller_line || "?") + " → " + (record.callee_line || "?"), clock(record.started)]) put(row, "td", text);
      put(row, "td").appendChild(button(record.call_id.slice(0, 12), () => open(record.call_id)));
      put(row, "td", "ended" + heard(record), "faint");
    }
  } catch (error) { said(error); }
});

// ---- what is done
function sure(question) {
  $("sure-said").textContent = question;
  $("sure").returnValue = "no";
  $("sure").showModal();
  return new Promise((resolve) => $("sure").addEventListener("close", () => resolve($("sure").returnValue === "yes"), { once: true }));
}
const said = (what) => { $("done").textContent = what instanceof Error ? what.message : what; };
async function order(verb, params, question) {
  if (question && !await sure(question)) return;
  try {
    let progress = await ask("../v1/" + verb, params);
    for (;;) {
      said(verb + ": " + progress.sentence);
      if (progress.state !== "running") break;
      await new Promise((resolve) => setTimeout(resolve, 300));
      progress = await view("progress", { id: progress.id });
    }
    if (verb === "rehearse" && progress.state === "done") {
      const result = await view("rehearsal", { limit: "1" });
      said("Had " + result.node + " taken over: " + count(result.kept) + " calls kept, " + count(result.lost) + " lost. " + result.obstacles.join(" "));
    }
    lines();
  } catch (error) { said(error); }
}
$("rehearse").addEventListener("click", () => order("rehearse", {}));
$("switchover").addEventListener("click", () => {
  const other = status.peers.find((peer) => peer.kind === "server" && peer.name !== status.active);
  if (!other) { said("There is no other server."); return; }
  order("switchover", { to: other.name }, "Make " + other.name + " the active server in place of " + (status.active || "nobody") + "?");
});

// ---- who asks
async function begin() {
  let session;
  try { session = await ask("session"); }
  catch (error) { if (error.status !== 401) { $("head").textContent = error.message; setTimeout(begin, 2000); return; } return locked(""); }
  role = session.role;
  csrf = session.csrf;
  $("who").textContent = session.user + (session.user.startsWith(role) ? " " : ", " + role + " ");
  if (session.ends) $("who").appendChild(button("log out", async () => { await ask("logout", {}); location.reload(); }));
  $("login").hidden = true;
  $("main").hidden = false;
  $("acts").hidden = role !== "operator";
  stream = new EventSource("events");
  stream.addEventListener("message", (event) => show(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    $("head").className = "warn";
    if (stream.readyState === EventSource.CLOSED) { $("head").textContent = "this server does not answer"; setTimeout(begin, 2000); }
  });
}
function locked(sentence) {
  $("main").hidden = true;
  $("login").hidden = false;
  $("login-said").textContent = sentence;
  $("head").textContent = "";
}
$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = $("token").value;
  $("token").value = "";
  try { await ask("login", { token }); begin(); }
  catch (error) { locked(error.message); }
});
setInterval(() => { if (status && document.visibilityState === "visible") lines(); }, 10000);
begin();
