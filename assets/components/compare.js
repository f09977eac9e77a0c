// A slider between two pictures of one size. The position stays when the pictures change, so that one looks at the
// same place of the next pair; keys for previous and next work wherever the focus is, except where text is typed.

const parts = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let part = parts.get(parentElement);
  if (!part) {
    part = new Compare(parentElement);
    parts.set(parentElement, part);
  }
  part.draw(data, setTriggerValue);
  return () => {
    part.close();
    parts.delete(parentElement);
  };
}

class Compare {
  constructor(root) {
    this.find = (selector) => root.querySelector(selector);
    this.root = this.find(".compare");
    this.range = this.find("input");
    this.range.addEventListener("input", () => this.move());
    this.onKey = (event) => this.key(event);
    window.addEventListener("keydown", this.onKey, true);
    document.querySelector('[data-testid="stMain"]')?.scrollTo(0, 0); // opened from a card far down the list
  }

  close() {
    window.removeEventListener("keydown", this.onKey, true);
  }

  draw(data, setTriggerValue) {
    this.data = data;
    this.setTriggerValue = setTriggerValue;
    this.picture(".over", data.left);
    this.picture(".under", data.right);
    this.find(".stage").style.aspectRatio = `${data.width} / ${data.height}`;
    this.find(".tag.left").textContent = data.left.word;
    this.find(".tag.right").textContent = data.right.word;
    this.find(".hint").textContent = data.hint;
    this.range.setAttribute("aria-label", `Slide between ${data.left.word} and ${data.right.word}`);
    this.move();
  }

  picture(selector, { src, alt }) {
    const image = this.find(selector);
    if (image.getAttribute("src") !== src) image.src = src;
    image.alt = alt;
  }

  move() {
    const at = Number(this.range.value);
    this.root.style.setProperty("--at", `${at}%`);
    this.root.dataset.at = String(at);
    const { left, right } = this.data;
    this.range.setAttribute("aria-valuetext", `${at} % ${left.word}, ${100 - at} % ${right.word}`);
    this.find(".tag.left").style.visibility = at < 15 ? "hidden" : "visible";
    this.find(".tag.right").style.visibility = at > 85 ? "hidden" : "visible";
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typesText(event.composedPath()[0])) return;
    const step = { p: "before", n: "after" }[event.key.toLowerCase()];
    if (!step || !this.data.steps.includes(step)) return;
    event.preventDefault();
    event.stopPropagation();
    this.setTriggerValue("step", step);
  }
}

function typesText(target) {
  if (!target?.matches) return false;
  if (target.isContentEditable || target.matches("textarea, select")) return true;
  return target.matches("input") && !["range", "radio", "checkbox", "button"].includes(target.type);
}
