// The changes of the graph, as they happen.

import { changesPath, get, instancePath, query } from './api.js';
import { el, note, patch, pill, say } from './dom.js';
import { clock, number, objectLink } from './format.js';
import { tabs } from './instances.js';

// So many are shown: older ones leave the page.
const most = 200;

// So many names are remembered.
const manyNames = 5000;

const kinds = { create: 'ok', update: 'info', delete: 'bad' };

export async function changes(main, signal, id) {
  const state = el('p', { class: 'pills' });
  const body = el('tbody');
  const trouble = el('div');
  const button = el('button', { type: 'button', onclick: () => {
    paused = !paused;
    button.textContent = paused ? 'Go on' : 'Pause';
    schedule();
  } }, 'Pause');
  main.append(el('h1', null, `Changes of ${id}`), tabs(id, 'Changes'), el('div', { class: 'buttons' }, button), state, trouble,
    el('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': 'Changes, newest first' },
      el('table', null, el('caption', { class: 'unseen' }, 'Changes, newest first'),
        el('thead', null, el('tr', null, ['Time', 'Change', 'Object', 'Source', 'Cause'].map((head) => el('th', { scope: 'col' }, head)))), body)));

  let paused = false;
  let waiting = []; // newest last, at most as many as are shown
  let seen = 0;
  let connection = 'connecting';
  let planned = 0;

  // However many come at once, the page is drawn once a frame.
  function schedule() {
    if (!planned) planned = requestAnimationFrame(draw);
  }
  function draw() {
    planned = 0;
    if (!paused) {
      for (const change of waiting) body.prepend(row(id, change));
      waiting = [];
      while (body.childElementCount > most) body.lastElementChild.remove();
    }
    nameEnds();
    patch(state, pill(connection === 'live' ? 'ok' : 'warn', paused ? 'paused' : connection),
      ` ${number(seen)} since this page was opened${paused && waiting.length > 0 ? `, ${number(waiting.length)} wait` : ''}. The last ${most} are shown.`);
  }

  // A relationship tells the keys of its ends: what they are called the database
  // knows. It is asked for many at once; without an answer the keys must do.
  const names = new Map();
  let asking = false;
  async function nameEnds() {
    const nameless = [...body.querySelectorAll('a[data-end]')].filter((a) => a.textContent === a.dataset.end);
    const unknown = [...new Set(nameless.map((a) => a.dataset.end))].filter((key) => !names.has(key));
    if (unknown.length > 0 && !asking) {
      asking = true;
      if (names.size > manyNames) names.clear();
      unknown.forEach((key) => names.set(key, key)); // it is asked for once
      try {
        const answer = await query(id, { query: 'Find * with _key = ${keys} as o return o._key as key, o.displayName as name',
          parameters: { keys: unknown }, limit: 1000 }, signal);
        answer.data.forEach((row) => names.set(row.key, row.name ?? row.key));
      } catch {
        // the keys stand there
      }
      asking = false;
      schedule();
    }
    for (const a of nameless) a.textContent = names.get(a.dataset.end) ?? a.dataset.end;
  }

  let stream;
  function open() {
    stream = new EventSource(changesPath(id));
    stream.onopen = () => {
      if (connection !== 'live') say('The changes are live');
      connection = 'live';
      schedule();
    };
    stream.onmessage = (event) => {
      seen++;
      waiting.push(JSON.parse(event.data));
      if (waiting.length > most) waiting.shift();
      schedule();
    };
    // The browser comes back by itself with the last id, unless it was refused.
    stream.onerror = () => {
      connection = stream.readyState === EventSource.CLOSED ? 'refused' : 'connecting again';
      schedule();
      if (stream.readyState === EventSource.CLOSED) refused();
    };
  }
  // A stream does not tell why it was refused. Either the session is over, which
  // the next call tells, or the place is gone: then it begins anew, from now.
  async function refused() {
    try {
      await get(instancePath(id), signal);
      patch(trouble, note('warn', `The stream was cut off at ${clock(new Date())}, and the place it had reached may no longer be kept. It goes on from now: changes may be missing between.`));
    } catch (err) {
      if (!signal.aborted) patch(trouble, note('bad', err.message));
      if (err.status === 404 || err.status === 401) return;
    }
    setTimeout(() => {
      if (!signal.aborted) open();
    }, 3000);
  }
  signal.addEventListener('abort', () => {
    stream.close();
    cancelAnimationFrame(planned);
  });
  open();
  schedule();
}

function row(instance, change) {
  const object = change.entity ?? change.relationship;
  return el('tr', null,
    el('th', { scope: 'row' }, el('time', { datetime: change.asOf, title: change.asOf }, clock(change.asOf))),
    el('td', null, pill(kinds[change.op] ?? 'plain', change.op)),
    el('td', null, el('span', { class: 'line' }, object._type), named(instance, change)),
    el('td', null, change.source),
    el('td', null, change.source === 'reconcile' ? el('a', { href: `#/runs/${encodeURIComponent(change.cause)}` }, change.cause) : el('code', null, change.cause)));
}

// named says which object it is: of a relationship, its two ends.
function named(instance, change) {
  const e = change.entity;
  if (e) return el('a', { href: objectLink(instance, e._key) }, e.displayName || e._key);
  const r = change.relationship;
  if (!r._fromEntityKey || !r._toEntityKey) return el('code', null, r._key);
  const end = (key) => el('a', { href: objectLink(instance, key), 'data-end': key, title: key }, key);
  return [end(r._fromEntityKey), ` ${r._class} `, end(r._toEntityKey)];
}
