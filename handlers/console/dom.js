// Elements of the page. Whatever comes from data becomes a text node or the value
// of an attribute: there is no way here to make markup of a text.

const handlers = ['onclick', 'onsubmit', 'onchange', 'oninput', 'onkeydown'];

// el makes an element. Attributes that are null, undefined or false are left out,
// and so are such children; lists of children are taken apart.
export function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value == null || value === false) continue;
    if (handlers.includes(key)) node[key] = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

// patch makes the content of place what the children are, and keeps the elements
// that are there already: so a view that is drawn again every few seconds keeps
// focus, selection and scroll. An element with data-key is found again by it; what
// is within one with data-keep belongs to somebody else.
export function patch(place, ...children) {
  patchChildren(place, [...el('div', null, ...children).childNodes]);
}

function patchChildren(place, fresh) {
  let at = place.firstChild;
  for (const child of fresh) {
    let old = at;
    while (old && !alike(old, child)) old = old.nextSibling;
    if (!old) {
      place.insertBefore(child, at);
      continue;
    }
    if (old === at) at = at.nextSibling;
    else place.insertBefore(old, at);
    update(old, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

const alike = (a, b) => a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;

function update(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== 'open') old.removeAttribute(name); // who opened it wants it open
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of handlers) old[name] = fresh[name];
  if (old.dataset.keep === undefined) patchChildren(old, [...fresh.childNodes]);
}

// say tells those who do not see the page what happened on it.
export function say(text) {
  document.getElementById('said').textContent = text;
}

// tell shows in a place what came of an order, and reads it out.
export function tell(place, text) {
  patch(place, note('info', text));
  say(text);
}

// table makes a table that scrolls by itself where it is too wide, with the
// keyboard, too. A cell is what el takes as a child; a row may bring its key.
export function table(caption, heads, rows, empty) {
  if (rows.length === 0 && empty) return el('p', { class: 'quiet' }, empty);
  return el('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': caption },
    el('table', null,
      el('caption', { class: 'unseen' }, caption),
      el('thead', null, el('tr', null, heads.map((head) => el('th', { scope: 'col' }, head)))),
      el('tbody', null, rows.map((cells) => el('tr', { 'data-key': cells.key },
        cells.map((cell, i) => el(i === 0 ? 'th' : 'td', i === 0 ? { scope: 'row' } : null, cell)))))));
}

// facts makes a list of names and what they stand for.
export function facts(pairs) {
  return el('dl', { class: 'facts' }, pairs.filter(Boolean).map(([name, ...value]) =>
    el('div', { 'data-key': name }, el('dt', null, name), el('dd', null, value))));
}

// pill is a short word with a mark whose form, beside its colour, tells how good
// or bad it is: ok, warn, bad, or plain.
export const pill = (kind, text) => el('span', { class: `pill ${kind}` }, text);

// note is a message: of an error or a warning it is read out.
export const note = (kind, ...children) => el('div', { class: `note ${kind}`, role: kind === 'bad' ? 'alert' : null }, children);

// bar shows how much of a whole something is; without a whole, that it is not known.
export function bar(label, value, max) {
  return el('progress', { 'aria-label': label, max: max > 0 ? max : null, value: max > 0 ? Math.min(value, max) : null });
}

// ask shows a dialog and waits. It returns null when the user backs out, else the
// values of the form's fields.
export function ask({ title, body, confirm, kind }) {
  return new Promise((resolve) => {
    const dialog = el('dialog', { 'aria-labelledby': 'dialog-title' },
      el('form', { method: 'dialog', onsubmit: (event) => {
        event.preventDefault();
        const form = event.target;
        const fields = {};
        for (const field of form.elements) {
          if (field.name) fields[field.name] = field.type === 'checkbox' ? field.checked : field.value.trim();
        }
        done(fields);
      } },
      el('h2', { id: 'dialog-title' }, title), body,
      el('div', { class: 'buttons' },
        el('button', { type: 'submit', class: kind ?? 'main' }, confirm),
        el('button', { type: 'button', onclick: () => done(null) }, 'Back'))));
    const done = (result) => {
      dialog.close();
      dialog.remove();
      resolve(result);
    };
    dialog.addEventListener('cancel', (event) => {
      event.preventDefault();
      done(null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
