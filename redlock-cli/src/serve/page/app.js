// The page of redlock serve. It shows the part of all locks that is on the screen; the server sorts and searches.
'use strict';

const $ = id => document.getElementById(id);
const ROW = 31;            // The height of a row, as in the style sheet, with its line.
const SPARE = 20;          // So many rows above and below the screen are there before somebody scrolls.
const POINTS = 180;        // A quarter of an hour.
const SPOKEN = new Intl.NumberFormat('en');

/** An element; text is only ever set as text. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function put(element, text) { if (element.textContent !== text) element.textContent = text; }

function short(ms) {
  const s = Math.floor(ms / 1000);
  if (s >= 86400) return `${Math.floor(s / 86400)}d ${Math.floor(s % 86400 / 3600)}h`;
  if (s >= 3600) return `${Math.floor(s / 3600)}h ${Math.floor(s % 3600 / 60)}m`;
  if (s >= 60) return `${Math.floor(s / 60)}m ${s % 60}s`;
  if (s >= 10) return `${s}s`;
  return `${(Math.max(ms, 0) / 1000).toFixed(1)}s`;
}

function roundTrip(us) {
  if (us >= 10000) return `${Math.round(us / 1000)} ms`;
  return `${(us / 1000).toFixed(us >= 1000 ? 1 : 2)} ms`;
}

function say(text) { put($('said'), text); }

// ---- Colours -------------------------------------------------------------------------------------------------------

const THEMES = { auto: ['Auto', 'as the system'], light: ['Light', 'light'], dark: ['Dark', 'dark'] };

function theme() { return document.documentElement.dataset.theme || 'auto'; }

function showTheme() {
  const [label, text] = THEMES[theme()];
  put($('theme'), label);
  $('theme').setAttribute('aria-label', `Colours: ${text}`);
}

$('theme').addEventListener('click', () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(theme()) + 1) % names.length];
  if (next === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try { localStorage.setItem('redlock-theme', next); } catch { /* It is forgotten with the page. */ }
  showTheme();
  say(`Colours: ${THEMES[next][1]}`);
});
showTheme();

// ---- What the server tells ------------------------------------------------------------------------------------------

let source = null;

function listen(url, take) {
  if (source) source.close();
  const mine = source = new EventSource(url);
  mine.onopen = () => live(true);
  mine.onmessage = message => {
    if (mine !== source) return;
    live(true);
    const began = performance.now();
    take(JSON.parse(message.data));
    const took = performance.now() - began;
    const told = document.documentElement.dataset;
    told.updateMs = took.toFixed(1);
    told.worstUpdateMs = Math.max(took, Number(told.worstUpdateMs || 0)).toFixed(1);
    told.updates = String(Number(told.updates || 0) + 1);
  };
  mine.onerror = () => {
    live(false);
    // A browser tries again by itself, unless it was refused.
    if (mine.readyState === EventSource.CLOSED) {
      setTimeout(async () => {
        if (mine !== source) return;
        try {
          if ((await fetch('/api/nodes')).status === 401) { location.assign('/login'); return; }
        } catch { /* The server is away. */ }
        listen(url, take);
      }, 2000);
    }
  };
}

function live(on) {
  $('live').className = `live ${on ? 'on' : 'off'}`;
  put($('live-text'), on ? 'live' : 'the server does not answer');
}

function problem(text) {
  $('problem').hidden = !text;
  if (text) put($('problem'), `What is below may be out of date: ${text}`);
}

// ---- Nodes ------------------------------------------------------------------------------------------------------------

const KIND = { votes: 'votes', young: 'warn', replica: 'bad', 'same server twice': 'bad', unreachable: 'bad' };
const nodes = new Map();

function showNodes(told) {
  let voting = 0;
  told.forEach((node, index) => {
    if (node.standing === 'votes') voting += 1;
    let shown = nodes.get(index);
    if (!shown) {
      const item = make('li', 'node');
      const lamp = make('span', 'lamp');
      lamp.setAttribute('aria-hidden', 'true');
      const where = make('bdi', 'where', node.node);
      where.title = node.node;
      const how = make('span', 'how');
      const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
      svg.setAttribute('viewBox', '0 0 60 24');
      svg.setAttribute('preserveAspectRatio', 'none');
      svg.setAttribute('aria-hidden', 'true');
      const path = svg.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'path'));
      item.append(lamp, where, svg, how);
      $('nodes').append(item);
      nodes.set(index, shown = { item, how, path, standing: node.standing });
    }
    if (shown.standing !== node.standing) {
      say(`Node ${node.node}: ${node.standing}`);
      shown.standing = node.standing;
    }
    const className = `node ${KIND[node.standing] || 'warn'}`;
    if (shown.item.className !== className) shown.item.className = className;
    shown.item.dataset.standing = node.standing;
    const parts = [node.standing];
    if (node.round_trip_us !== null) parts.push(roundTrip(node.round_trip_us));
    if (node.standing !== 'votes') parts.push(`for ${short(node.since_ms)}`);
    put(shown.how, parts.join(' · '));
    shown.item.title = node.failure || '';
    shown.path.setAttribute('d', spark(node.round_trips_us));
  });
  put($('sum-nodes'), `${voting}/${told.length}`);
}

/** A line of the last round trips, with gaps where there was no answer. */
function spark(values) {
  const most = Math.max(1000, ...values.filter(value => value !== null));
  let path = '', pen = false;
  values.forEach((value, index) => {
    if (value === null) { pen = false; return; }
    const x = 60 - (values.length - index), y = 22 - 20 * value / most;
    path += `${pen ? 'L' : 'M'}${x} ${y.toFixed(1)}`;
    pen = true;
  });
  return path;
}

// ---- Chart --------------------------------------------------------------------------------------------------------------

let points = [];
let counted = 0;

function showChart(count, told) {
  if (count !== counted || told.length) {
    // The first of those told is the last that is known, which may have grown.
    const fresh = count - counted;
    if (fresh < 0 || told.length - fresh > points.length) points = told.slice();
    else points.splice(points.length - (told.length - fresh), told.length, ...told);
    points = points.slice(-POINTS);
    counted = count;
  }
  const width = 900, height = 88, step = width / POINTS, first = POINTS - points.length;
  const mostWaiting = Math.max(4, ...points.map(point => point[0]));
  const mostAcquired = Math.max(4, ...points.map(point => point[1]));
  let bars = '', edge = '';
  points.forEach(([waiting, acquired], index) => {
    const x = (first + index) * step;
    if (acquired) {
      const h = (height - 14) * acquired / mostAcquired;
      bars += `M${(x + .6).toFixed(1)} ${height}v${(-h).toFixed(1)}h${(step - 1.2).toFixed(1)}V${height}z`;
    }
    const y = height - 1 - (height - 14) * waiting / mostWaiting;
    edge += `${edge ? 'L' : 'M'}${(x + step / 2).toFixed(1)} ${y.toFixed(1)}`;
  });
  $('bars').setAttribute('d', bars);
  $('edge').setAttribute('d', edge);
  const from = (first + .5) * step, to = width - step / 2;
  $('area').setAttribute('d', edge ? `${edge}L${to} ${height}L${from} ${height}z` : '');
  const now = points.at(-1) || [0, 0, 0];
  const minute = points.slice(-12).reduce((sum, point) => sum + point[1], 0);
  put($('chart-waiting'), SPOKEN.format(now[0]));
  put($('chart-acquired'), SPOKEN.format(minute));
  put($('scale-waiting'), `${SPOKEN.format(mostWaiting)} waiting`);
  put($('scale-acquired'), `${SPOKEN.format(mostAcquired * 12)} per min`);
  const peak = Math.max(0, ...points.map(point => point[0]));
  put($('chart-text'), `Now ${now[0]} wait; at the most ${peak} did in the last ${Math.ceil(points.length / 12)} minutes. ` +
    `${minute} acquisitions were seen in the last minute.`);
}

// ---- All locks -------------------------------------------------------------------------------------------------------------

const asked = { sort: 'age', order: 'descending', search: '', from: 0, count: 60 };
const USUAL = { name: 'ascending', holder: 'ascending', left: 'ascending', age: 'descending', waiting: 'descending', state: 'descending' };
const view = { names: [], from: 0, matching: 0, total: 0, locks: new Map(), rows: new Map() };
const spaceAbove = space(), spaceBelow = space();

function space() {
  const row = make('tr', 'space');
  row.setAttribute('aria-hidden', 'true');
  row.append(make('td'));
  row.firstChild.colSpan = 6;
  return row;
}

function reopen() { listen(`/events?${new URLSearchParams(asked)}`, takeLocks); }

function takeLocks(told) {
  const now = performance.now();
  problem(told.problem);
  showNodes(told.nodes);
  showChart(told.points, told.chart);
  put($('sum-held'), SPOKEN.format(told.held));
  put($('sum-waiting'), SPOKEN.format(told.waiting));
  if (told.names) view.names = told.names;
  view.from = told.from;
  const isFirst = told.survey_took_ms === null;
  if (told.matching !== view.matching || told.total !== view.total) {
    view.matching = told.matching;
    view.total = told.total;
    showFound();
  }
  for (const lock of told.locks) view.locks.set(lock.name, { ...lock, at: now, isNew: true });
  const there = new Set(view.names);
  for (const name of view.locks.keys()) if (!there.has(name)) view.locks.delete(name);
  $('empty').hidden = view.matching > 0;
  put($('empty'), isFirst ? 'Looking…' : asked.search ? 'No lock matches.' : 'No lock is held.');
  layOut();
}

function showFound() {
  const text = asked.search
    ? `${SPOKEN.format(view.matching)} of ${SPOKEN.format(view.total)} locks`
    : `${SPOKEN.format(view.total)} locks`;
  put($('found'), text);
  if (asked.search) say(`${text} match`);
  $('table').setAttribute('aria-rowcount', String(view.matching + 1));
}

/** Puts the rows that there are where they belong. */
function layOut() {
  const body = $('rows');
  const focused = document.activeElement && document.activeElement.closest('tr[data-name]');
  const focusedName = focused && focused.dataset.name;
  const wanted = [];
  view.names.forEach((name, index) => {
    const lock = view.locks.get(name);
    if (!lock) return;
    let row = view.rows.get(name);
    if (!row) view.rows.set(name, row = makeRow(name));
    if (lock.isNew) { fill(row, lock); lock.isNew = false; }
    const number = String(view.from + index + 2);
    if (row.index !== number) { row.index = number; row.element.setAttribute('aria-rowindex', number); }
    wanted.push(row.element);
  });
  for (const [name, row] of view.rows) {
    if (!view.locks.has(name)) { row.element.remove(); view.rows.delete(name); }
  }
  setHeight(spaceAbove, view.from * ROW);
  setHeight(spaceBelow, Math.max(0, view.matching - view.from - wanted.length) * ROW);
  if (body.firstChild !== spaceAbove) body.prepend(spaceAbove);
  let before = spaceAbove;
  for (const element of wanted) {
    if (before.nextSibling !== element) before.after(element);
    before = element;
  }
  if (before.nextSibling !== spaceBelow) before.after(spaceBelow);
  if (focusedName && view.rows.has(focusedName) && !document.activeElement.closest('tr')) view.rows.get(focusedName).link.focus({ preventScroll: true });
  tick();
}

function setHeight(row, height) {
  const text = `${height}px`;
  if (row.style.height !== text) row.style.height = text;
  row.hidden = height === 0;
}

function makeRow(name) {
  const element = make('tr');
  element.dataset.name = name;
  const link = make('a');
  link.href = `/lock?${new URLSearchParams({ name })}`;
  const text = link.appendChild(make('bdi'));
  const cells = ['', '', 'holder', '', '', 'number'].map(className => element.appendChild(make('td', className)));
  cells[0].append(link);
  const chip = cells[1].appendChild(make('span', 'chip'));
  const holder = cells[2].appendChild(make('bdi'));
  return { element, link, text, cells, chip, holder, age: meter(cells[3], 'track'), left: meter(cells[4], 'track left'), index: '' };
}

function meter(cell, className) {
  const box = cell.appendChild(make('div', 'meter'));
  const text = box.appendChild(make('span'));
  const track = box.appendChild(make('span', className));
  track.setAttribute('aria-hidden', 'true');
  return { text, track, bar: track.appendChild(make('i')), width: '' };
}

function fill(row, lock) {
  put(row.text, lock.shown);
  row.link.title = lock.shown;
  put(row.chip, lock.shown_state);
  row.chip.className = `chip ${lock.state}`;
  put(row.holder, lock.owner || (lock.state === 'held' && !lock.shared ? '(did not say)' : ''));
  row.cells[2].title = lock.owner || '';
  put(row.cells[5], SPOKEN.format(lock.waiting));
  row.cells[5].className = lock.waiting ? 'number waits' : 'number';
}

/** Time passes for the rows on the screen, without the server. */
function tick() {
  const now = performance.now();
  for (const [name, row] of view.rows) {
    const lock = view.locks.get(name);
    if (lock) showTimes(row, lock, now - lock.at);
  }
}

function showTimes(row, lock, passed) {
  const isTaken = lock.state !== 'free';
  const age = lock.held_for_ms + passed;
  put(row.age.text, isTaken ? `${lock.is_held_for_known ? '' : '≥ '}${short(age)}` : '–');
  // From a second to a day, each ten times as long a step further.
  grow(row.age, isTaken ? Math.log10(1 + age / 1000) / Math.log10(86401) : 0);
  row.age.track.classList.toggle('old', age > 3600000);
  const left = lock.remaining_ms === null ? null : Math.max(0, lock.remaining_ms - passed);
  put(row.left.text, left === null ? (isTaken && lock.state === 'held' ? 'for ever' : '–') : short(left));
  const share = left === null || !lock.ttl_ms ? 0 : left / lock.ttl_ms;
  grow(row.left, share);
  row.left.track.classList.toggle('low', share < .34);
}

function grow(meter, share) {
  const width = `${Math.round(100 * Math.min(1, share))}%`;
  if (meter.width !== width) meter.bar.style.width = meter.width = width;
}

function askForScreen() {
  const scroll = $('scroll');
  const first = Math.floor(scroll.scrollTop / ROW), rows = Math.ceil(scroll.clientHeight / ROW);
  const count = Math.min(500, rows + 3 * SPARE);
  const isCovered = first >= asked.from + (asked.from ? SPARE / 2 : 0)
    && (first + rows <= asked.from + asked.count - SPARE / 2 || asked.from + asked.count >= view.matching)
    && asked.count >= count;
  if (isCovered) return;
  asked.from = Math.max(0, first - SPARE);
  asked.count = count;
  reopen();
}

let scrolling = 0;

function beginList() {
  $('list').hidden = false;
  const wanted = new URLSearchParams(location.search);
  if (USUAL[wanted.get('sort')]) asked.sort = wanted.get('sort');
  asked.order = wanted.get('order') === 'ascending' || wanted.get('order') === 'descending' ? wanted.get('order') : USUAL[asked.sort];
  asked.search = wanted.get('search') || '';
  $('search').value = asked.search;
  asked.count = Math.min(500, Math.ceil(($('scroll').clientHeight || 600) / ROW) + 3 * SPARE);
  showSort();
  $('scroll').addEventListener('scroll', () => {
    clearTimeout(scrolling);
    scrolling = setTimeout(askForScreen, 60);
  }, { passive: true });
  addEventListener('resize', () => { clearTimeout(scrolling); scrolling = setTimeout(askForScreen, 120); });
  for (const head of document.querySelectorAll('th[data-sort]')) {
    head.firstElementChild.addEventListener('click', () => {
      const sort = head.dataset.sort;
      asked.order = asked.sort === sort ? (asked.order === 'ascending' ? 'descending' : 'ascending') : USUAL[sort];
      asked.sort = sort;
      showSort();
      say(`Sorted by ${head.textContent}, ${asked.order}`);
      again();
    });
  }
  let typing = 0;
  $('search').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => { asked.search = $('search').value; again(); showFound(); }, 120);
  });
  setInterval(tick, 500);
  reopen();
}

function showSort() {
  for (const head of document.querySelectorAll('th[data-sort]')) {
    if (head.dataset.sort === asked.sort) head.setAttribute('aria-sort', asked.order);
    else head.removeAttribute('aria-sort');
  }
}

/** From the top, in another order or of other locks; the address says so, for a bookmark. */
function again() {
  asked.from = 0;
  $('scroll').scrollTop = 0;
  const kept = new URLSearchParams({ sort: asked.sort, order: asked.order });
  if (asked.search) kept.set('search', asked.search);
  history.replaceState(null, '', `/?${kept}`);
  reopen();
}

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('list').hidden) return;
  const search = $('search');
  if (event.key === '/' && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === 'Escape' && document.activeElement === search) {
    search.value = '';
    search.dispatchEvent(new Event('input'));
    $('scroll').focus();
  } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    const row = document.activeElement && document.activeElement.closest('tr[data-name]');
    if (!row && document.activeElement !== search && document.activeElement !== $('scroll')) return;
    const names = view.names;
    const at = row ? names.indexOf(row.dataset.name) : -1;
    const next = view.rows.get(names[Math.max(0, at + (event.key === 'ArrowDown' ? 1 : -1))]);
    if (!next || (!row && event.key === 'ArrowUp')) return;
    event.preventDefault();
    next.link.focus({ preventScroll: true });
    // Below the heads, which stay.
    const scroll = $('scroll'), top = next.element.offsetTop;
    if (top < scroll.scrollTop + ROW) scroll.scrollTop = top - ROW;
    else if (top + 2 * ROW > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + 2 * ROW - scroll.clientHeight;
  }
});

// ---- One lock ---------------------------------------------------------------------------------------------------------------

let one = null;

function beginOne(name) {
  $('one').hidden = false;
  $('one-name').firstElementChild.textContent = name;
  listen(`/events/lock?${new URLSearchParams({ name })}`, takeOne);
  const askNodes = async () => {
    try { showNodes(await (await fetch('/api/nodes')).json()); } catch { /* The lamps stay as they are. */ }
    setTimeout(askNodes, 1000);
  };
  askNodes();
  const askSums = async () => {
    try {
      const told = await (await fetch('/api/locks?count=1')).json();
      put($('sum-held'), SPOKEN.format(told.held));
      put($('sum-waiting'), SPOKEN.format(told.waiting));
    } catch { /* They stay as they are. */ }
    setTimeout(askSums, 2000);
  };
  askSums();
  setInterval(showFacts, 500);
}

function takeOne(told) {
  problem(told.problem);
  one = told.lock && { ...told.lock, at: performance.now() };
  if (told.lock) {
    put($('one-name').firstElementChild, told.lock.shown);
    document.title = `${told.lock.shown} · redlock`;
  }
  showFacts();
  showPermits();
  put($('history-note'), `since this began to look, ${short(told.serving_ms)} ago`);
  const rows = told.history.map(event => {
    const row = make('tr');
    const when = new Date(event.at);
    const time = make('time', '', when.toLocaleTimeString([], { hour12: false }));
    time.dateTime = when.toISOString();
    time.title = when.toString();
    const what = event.change + (event.held_for_ms === null ? '' : ` after ${short(event.held_for_ms)}`);
    const cells = [time, make('span', `chip ${event.change === 'acquired' ? 'held' : event.change}`, what),
      make('bdi', '', event.owner || ''), make('span', '', String(event.fencing_token || '')), make('span', '', SPOKEN.format(event.waiting))];
    cells.forEach((content, index) => {
      const cell = row.appendChild(make('td', index === 4 ? 'number' : ''));
      cell.append(content);
    });
    return row;
  });
  $('history').replaceChildren(...rows);
  $('no-history').hidden = rows.length > 0;
}

const facts = new Map();

function fact(name, text, share, className) {
  let shown = facts.get(name);
  if (!shown) {
    const box = $('facts').appendChild(make('div'));
    box.append(make('dt', '', name));
    const value = box.appendChild(make('dd')).appendChild(make('bdi'));
    shown = { box, value };
    if (share !== undefined) {
      const track = box.appendChild(make('div', className));
      track.setAttribute('aria-hidden', 'true');
      shown.meter = { bar: track.appendChild(make('i')), width: '' };
    }
    facts.set(name, shown);
  }
  put(shown.value, text);
  if (shown.meter) grow(shown.meter, share || 0);
}

function showFacts() {
  if (!one) {
    fact('State', 'free');
    for (const name of ['Holder', 'Held for', 'Left', 'Waiting', 'Fencing token', 'On nodes']) if (facts.has(name)) fact(name, '–', 0);
    return;
  }
  const passed = performance.now() - one.at, age = one.held_for_ms + passed;
  const left = one.remaining_ms === null ? null : Math.max(0, one.remaining_ms - passed);
  fact('State', one.shown_state);
  fact('Holder', one.owner || (one.shared ? '–' : '(did not say)'));
  fact('Held for', `${one.is_held_for_known ? '' : 'at least '}${short(age)}`, Math.log10(1 + age / 1000) / Math.log10(86401), 'track');
  fact('Left', left === null ? '–' : short(left), left === null || !one.ttl_ms ? 0 : left / one.ttl_ms, 'track left');
  fact('Waiting', SPOKEN.format(one.waiting));
  fact('Fencing token', String(one.fencing_token || '–'));
  fact('On nodes', one.permits.length || one.shared ? '–' : `${one.votes} of ${one.nodes}`);
  if (one.last_run) fact('Last completed run', new Date(one.last_run.fire).toLocaleString());
}

function showPermits() {
  const permits = one && one.permits || [];
  $('permits').hidden = !permits.length;
  $('permit-rows').replaceChildren(...permits.map(permit => {
    const row = make('tr');
    row.append(make('td', 'number', String(permit.permit)));
    row.appendChild(make('td')).append(make('span', `chip ${permit.state}`, permit.state));
    row.appendChild(make('td', 'holder')).append(make('bdi', '', permit.owner || ''));
    row.append(make('td', '', permit.held_for_ms === null ? '' : short(permit.held_for_ms)), make('td', '', permit.remaining_ms === null ? '' : short(permit.remaining_ms)));
    return row;
  }));
}

if (location.pathname === '/lock') beginOne(new URLSearchParams(location.search).get('name') || '');
else beginList();
