// Puts in place what the tower draws, and says loudly when nothing comes any more:
// old facts must never look fresh.
'use strict';

const silence = 3000; // ms
const lost = document.getElementById('lost');
let heard = performance.now(); // when something new was last heard
let heardAt = new Date();
let newest = '';               // the tower's own time of it
let source = null;

function show(event) {
  const now = JSON.parse(event.data);
  if (now.at === newest) return; // a tower that repeats itself says nothing new
  newest = now.at;
  heard = performance.now();
  heardAt = new Date();
  for (const [id, html] of Object.entries(now.sections)) {
    const section = document.getElementById(id);
    if (section) section.innerHTML = html;
    if (id === 'audited') anew(html);
  }
  const headline = document.querySelector('h1');
  if (headline) document.title = headline.lastChild.textContent + ' · haechi';
  watch();
}

// The page If was drawn for one audit. When there is another, what it says is asked for again.
const stands = document.getElementById('stands');
let audited = null;
async function anew(html) {
  if (!stands || html === audited) return;
  const first = audited === null;
  audited = html;
  if (first) return;
  const answer = await fetch(location.href);
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('stands');
  if (fresh && !stands.contains(document.activeElement)) stands.replaceChildren(...fresh.childNodes);
}

function connect() {
  if (source) source.close();
  source = new EventSource('/stream?sections=1');
  source.addEventListener('now', show);
  const mine = source;
  mine.onerror = () => { // the browser comes back by itself, but not where it was refused
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => { if (mine === source) connect(); }, 200);
  };
}

function watch() {
  const age = performance.now() - heard;
  const stale = age > silence;
  lost.hidden = !stale;
  document.body.classList.toggle('stale', stale);
  if (!stale) return;
  document.getElementById('lost-since').textContent = heardAt.toLocaleTimeString();
  document.getElementById('lost-age').textContent = Math.round(age / 1000) + ' s';
  document.title = 'NO CONTACT · haechi';
}

connect();
setInterval(watch, 250);
// A connection that hangs is not noticed by the browser itself for minutes.
setInterval(() => { if (performance.now() - heard > silence) connect(); }, 2000);
