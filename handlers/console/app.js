// The operators' console. What stands behind the # says what is shown: each view
// is a function that fills main, and ends its work when its signal does.

import { call, get, whenSignedOut } from './api.js';
import { el, note, patch } from './dom.js';
import { clock } from './format.js';
import { changes } from './changes.js';
import { deadLetters } from './letters.js';
import { instance, instances } from './instances.js';
import { neighbourhood } from './neighbours.js';
import { queries } from './queries.js';
import { run } from './run.js';

const routes = [
  [/^\/?$/, 'Instances', instances],
  [/^\/instances\/([^/]+)$/, 'Instance', instance],
  [/^\/instances\/([^/]+)\/changes$/, 'Changes', changes],
  [/^\/instances\/([^/]+)\/query$/, 'Query', queries],
  [/^\/instances\/([^/]+)\/dead-letters$/, 'Dead letters', deadLetters],
  [/^\/instances\/([^/]+)\/objects\/([^/]+)$/, 'Neighbourhood', neighbourhood],
  [/^\/runs\/([^/]+)$/, 'Run', run],
];

const main = document.getElementById('main');
let leave = new AbortController();

// begin ends what is shown, and returns the signal of what will be.
function begin(title) {
  leave.abort();
  leave = new AbortController();
  document.querySelectorAll('dialog').forEach((dialog) => dialog.remove());
  document.title = `${title} · oktasync`;
  main.replaceChildren();
  return leave.signal;
}

// decoded undoes encodeURIComponent; what nobody encoded stays as it is.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function show(moved) {
  const path = location.hash.slice(1);
  for (const [form, title, view] of routes) {
    const match = form.exec(path);
    if (!match) continue;
    const parts = match.slice(1).map(decoded);
    const signal = begin([...parts.slice(0, 1), title].reverse().join(' · '));
    if (moved) main.focus(); // a new page is read from its top
    window.scrollTo(0, 0);
    try {
      await view(main, signal, ...parts);
    } catch (err) {
      if (!signal.aborted) main.append(note('bad', err.message));
    }
    return;
  }
  begin('Not found');
  main.append(el('h1', null, 'Nothing here'), el('p', null, el('a', { href: '#/' }, 'To the instances')));
}

function signIn(message) {
  const signal = begin('Sign in');
  patch(document.getElementById('session'));
  const token = el('input', { id: 'token', type: 'password', autocomplete: 'off', required: true, spellcheck: 'false', 'aria-describedby': 'token-hint' });
  const button = el('button', { type: 'submit', class: 'main' }, 'Sign in');
  const problem = el('div');
  const form = el('form', { class: 'card sign-in', onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await call('POST', '/admin/session', { token: token.value });
      if (!signal.aborted) await start();
    } catch (err) {
      patch(problem, note('bad', err.status === 401 ? 'That is not the admin token.' : err.message));
    } finally {
      token.value = '';
      button.disabled = false;
      if (!signal.aborted) token.focus();
    }
  } },
  el('h1', null, 'Sign in'),
  message ? note('warn', message) : null,
  el('label', { for: 'token' }, 'Admin token'), token,
  el('p', { id: 'token-hint', class: 'quiet' }, 'The value of OKTASYNC_ADMIN_TOKEN. It is sent once, and is not kept here.'),
  problem, button);
  main.append(form);
  token.focus();
}

let refusal = null; // of a sign-out; it leaves with the view above which it stands

async function signOut() {
  refusal?.remove();
  try {
    await call('DELETE', '/admin/session');
  } catch (err) {
    if (err.status !== 401) {
      refusal = note('bad', `You are still signed in: ${err.message}`);
      main.prepend(refusal);
      return;
    }
  }
  signIn('You are signed out.');
}

async function start() {
  let session;
  try {
    session = await get('/admin/session');
  } catch (err) {
    signIn(err.status === 401 ? '' : err.message);
    return;
  }
  patch(document.getElementById('session'),
    el('span', { class: 'until' }, `signed in until ${clock(session.until).slice(0, 5)}`),
    el('button', { type: 'button', onclick: signOut }, 'Sign out'));
  await show(false);
}

whenSignedOut(() => signIn('The session is over. Sign in again to go on.'));
window.addEventListener('hashchange', () => {
  if (!document.querySelector('.sign-in')) show(true);
});
document.getElementById('skip').onclick = () => main.focus();
start();
