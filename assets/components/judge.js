// Judging images at the speed of a keyboard. Keys act here at once; answers wait in an outbox until the server has
// acknowledged their ids, so a rerun, a slow server or a reload neither loses nor doubles one.

const FLUSH_AFTER = 120; // ms: answers of one burst travel together
const RETRY_AFTER = 3000; // ms without an acknowledgement
const KEEP_SHOWN = 24; // images kept for undo
const judges = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let judge = judges.get(parentElement);
  if (!judge) {
    judge = new Judge(parentElement);
    judges.set(parentElement, judge);
  }
  judge.receive(data, setStateValue);
  return () => {
    judge.close();
    judges.delete(parentElement);
  };
}

class Judge {
  constructor(root) {
    this.find = (selector) => root.querySelector(selector);
    this.owner = null; // study and annotator that the outbox belongs to
    this.outbox = []; // events that the server has not acknowledged
    this.queue = []; // ids to judge; the first is on screen
    this.past = []; // ids answered here, for undo
    this.images = new Map(); // id -> data URL
    this.tick = 0;
    this.visibleSince = null;
    this.elapsed = 0;
    this.onKey = (event) => this.key(event);
    this.onVisibility = () => this.pauseClock();
    window.addEventListener("keydown", this.onKey, true); // on the window: works wherever the focus is
    document.addEventListener("visibilitychange", this.onVisibility);
    this.retry = setInterval(() => this.outbox.length && this.flush(), RETRY_AFTER);
    this.find(".undo").onclick = () => this.undo();
  }

  close() {
    window.removeEventListener("keydown", this.onKey, true);
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearInterval(this.retry);
    clearTimeout(this.timer);
  }

  // --- from the server ----------------------------------------------------------------------------------
  receive(data, setStateValue) {
    this.setStateValue = setStateValue;
    this.data = data;
    if (this.owner !== data.owner) this.adopt(data.owner);
    const acknowledged = new Set(data.acknowledged);
    this.outbox = this.outbox.filter((event) => !acknowledged.has(event.id));
    this.remember();
    for (const item of data.items) if (item.src) this.preload(item.id, item.src);
    this.merge(data.items.map((item) => item.id), Object.values(data.returned));
    this.draw();
    if (this.outbox.some((event) => !event.sent) || this.queue.some((id) => !this.images.has(id))) this.flushSoon();
  }

  adopt(owner) {
    this.owner = owner;
    this.queue = [];
    this.past = [];
    this.images.clear();
    this.outbox = JSON.parse(sessionStorage.getItem(this.storageKey()) ?? "[]");
    for (const event of this.outbox) event.sent = false;
    this.drawChoices();
  }

  merge(served, returned) {
    const answered = new Set(); // answered here, but not yet known to the server
    for (const event of this.outbox) {
      if (event.kind === "answer") answered.add(event.item);
      else answered.delete(event.item);
    }
    const open = served.filter((id) => !answered.has(id));
    const back = returned.filter((id) => open.includes(id) && !this.given?.has(id));
    this.given = new Set(returned);
    const first = this.queue[0];
    const head = back.length ? back : first !== undefined && !answered.has(first) ? [first] : [];
    this.queue = [...new Set([...head, ...open])];
    const wanted = new Set([...this.queue, ...this.past.slice(-KEEP_SHOWN)]);
    for (const id of this.images.keys()) if (!wanted.has(id)) this.images.delete(id);
  }

  preload(id, src) {
    if (this.images.has(id)) return;
    this.images.set(id, src);
    new Image().src = src;
  }

  // --- to the server ------------------------------------------------------------------------------------
  flushSoon() {
    this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER);
  }

  flush() {
    clearTimeout(this.timer);
    this.timer = null;
    for (const event of this.outbox) event.sent = true;
    const events = this.outbox.map(({ sent, ...event }) => event);
    this.setStateValue("outbox", { owner: this.owner, events, have: [...this.images.keys()], tick: ++this.tick });
  }

  push(event) {
    this.outbox.push({ id: newId(), ...event, sent: false });
    this.remember();
    this.flushSoon();
    this.draw();
  }

  storageKey() {
    return `semsight-outbox-${this.owner}`;
  }

  remember() {
    if (this.outbox.length) sessionStorage.setItem(this.storageKey(), JSON.stringify(this.outbox));
    else sessionStorage.removeItem(this.storageKey());
  }

  // --- what the annotator does --------------------------------------------------------------------------
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typesText(event.composedPath()[0])) return;
    const pressed = event.key.toLowerCase();
    const choice = this.data.choices.find((one) => one.keys.includes(pressed));
    const isUndo = this.data.undoKeys.includes(pressed);
    if (!choice && !isUndo) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat) return; // a key that is held down is one answer
    if (choice) this.answer(choice.value);
    else this.undo();
  }

  answer(value) {
    const item = this.queue[0];
    if (item === undefined || item !== this.shown) return;
    const seconds = Math.round(this.elapsed + (this.visibleSince === null ? 0 : performance.now() - this.visibleSince)) / 1000;
    this.queue.shift();
    this.past.push(item);
    this.flash(value);
    this.push({ kind: "answer", item, answer: value, seconds });
  }

  undo() {
    const item = this.past.pop() ?? null; // null: the server knows what came last
    if (item === null && this.data.answered === 0) return;
    if (item !== null) this.queue = [item, ...this.queue.filter((id) => id !== item)];
    this.push({ kind: "undo", item });
  }

  // --- drawing ------------------------------------------------------------------------------------------
  drawChoices() {
    this.find(".question").textContent = this.data.question;
    const answers = this.find(".answers");
    answers.replaceChildren(...this.data.choices.map((choice) => this.button(choice)));
    this.find(".undo").replaceChildren("Undo", hint(this.data.undoKeys[0]));
  }

  button(choice) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.value = choice.value;
    button.setAttribute("aria-keyshortcuts", choice.keys.join(" ").toUpperCase());
    button.append(choice.text, hint(choice.keys[0]));
    button.onclick = () => this.answer(choice.value);
    return button;
  }

  flash(value) {
    const button = this.find(`button[data-value="${CSS.escape(value)}"]`);
    button.classList.add("pressed");
    setTimeout(() => button.classList.remove("pressed"), 120);
  }

  draw() {
    const { data } = this;
    const ready = this.queue.length > 0 && this.images.has(this.queue[0]);
    if (ready) this.show(this.queue[0]);
    else this.shown = undefined;
    const finished = !ready && data.items.length === 0 && this.outbox.length === 0;
    const picture = this.find(".picture");
    picture.hidden = !ready;
    this.find(".message").textContent = ready ? "" : finished ? data.finished : "Loading the next image …";
    for (const button of this.find(".answers").children) button.disabled = !ready;
    const waiting = this.outbox.reduce((sum, event) => sum + (event.kind === "answer" ? 1 : -1), 0);
    const answered = Math.max(0, Math.min(data.total, data.answered + waiting));
    this.find(".undo").disabled = this.past.length === 0 && answered === 0;
    this.find(".progress").max = Math.max(1, data.total);
    this.find(".progress").value = answered;
    this.find(".count").textContent = `${answered} of ${data.total}`;
    this.find(".saving").textContent = this.outbox.length ? "Saving …" : answered ? "Saved" : "";
    const problem = this.find(".problem");
    problem.hidden = !data.problem;
    problem.textContent = data.problem;
  }

  show(id) {
    if (this.shown === id) return;
    this.shown = id;
    this.find(".picture").src = this.images.get(id);
    this.find(".picture").dataset.item = id;
    this.elapsed = 0;
    this.visibleSince = document.hidden ? null : performance.now();
  }

  pauseClock() {
    if (document.hidden && this.visibleSince !== null) {
      this.elapsed += performance.now() - this.visibleSince;
      this.visibleSince = null;
    } else if (!document.hidden) {
      this.visibleSince = performance.now();
    }
  }
}

function hint(key) {
  const element = document.createElement("kbd");
  element.textContent = key === "backspace" ? "⌫" : key.toUpperCase();
  element.setAttribute("aria-hidden", "true");
  return element;
}

function typesText(element) {
  if (!(element instanceof HTMLElement)) return false;
  const still = ["button", "checkbox", "radio", "range", "submit"];
  if (element instanceof HTMLInputElement) return !still.includes(element.type);
  return element.isContentEditable || ["TEXTAREA", "SELECT"].includes(element.tagName);
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
