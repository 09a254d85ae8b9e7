// Draws the charts of a stress report from the JSON in the page. It stands alone and fetches nothing.
//
// `document.documentElement.dataset` tells how it went: `drawn` is how many charts there are, `errors` what went wrong,
// `script` is `done` at the end.
(() => {
  'use strict';

  const root = document.documentElement;
  const troubles = [];
  const note = (what) => {
    troubles.push(String(what));
    root.dataset.errors = troubles.join(' | ');
  };
  window.addEventListener('error', (event) => note(event.message));
  window.addEventListener('unhandledrejection', (event) => note(event.reason));
  document.addEventListener('securitypolicyviolation', (event) => note('blocked ' + event.blockedURI));
  const logError = console.error;
  console.error = (...what) => {
    note(what.join(' '));
    logError.apply(console, what);
  };

  // ---- Figures as people read them: three digits and a unit, as in the tables.

  const scaled = (value, units) => {
    let [scale, unit] = units[0];
    for (const [larger, name] of units) if (Math.abs(value) >= larger) [scale, unit] = [larger, name];
    const number = value / scale;
    const size = Math.abs(number);
    const whole = scale === 1 && Number.isInteger(number);
    return number.toFixed(whole || size >= 99.95 ? 0 : size < 9.995 ? 2 : 1) + unit;
  };
  const NS = [[1, ' ns'], [1e3, ' µs'], [1e6, ' ms'], [1e9, ' s']];
  const BYTES = [[1, ' B'], [1e3, ' KB'], [1e6, ' MB'], [1e9, ' GB']];
  const RATE = [[1, '/s'], [1e3, 'k/s'], [1e6, 'M/s']];
  const orDash = (text) => (value) => (value == null ? '–' : text(value));
  const time = orDash((ns) => scaled(ns, NS));
  const bytes = orDash((value) => scaled(value, BYTES));
  const rate = orDash((value) => scaled(value, RATE));
  const count = orDash((value) => String(value));
  const share = orDash((permille) => (permille / 10).toFixed(permille < 100 ? 1 : 0) + '%');
  // All moments of one axis alike: in seconds where it is short, else in minutes or hours.
  const clock = (seconds, step, end) => {
    if (end < 120) return String(+seconds.toFixed(step < 1 ? 2 : 1)) + ' s';
    const whole = Math.round(seconds);
    const two = (number) => String(number).padStart(2, '0');
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return end >= 7200 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${hours * 60 + minutes}:${two(whole % 60)}`;
  };
  // Without the zeros that an axis doesn't need.
  const short = (format) => (value) => format(value).replace(/\.0+(?=\D|$)/, '').replace(/(\.\d*?)0+(?=\D|$)/, '$1');
  const percent = (nines) => {
    const digits = Math.max(0, Math.ceil(Math.log10(nines) - 1e-9) - 1);
    return 'p' + +(100 - 100 / nines).toFixed(digits);
  };

  // ---- Elements.

  const SVG = 'http://www.w3.org/2000/svg';
  const shape = (name, attributes, parent, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const block = (name, className, parent, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };

  // ---- Scales.

  const linear = (low, high, from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  const logarithmic = (low, high, from, to) => {
    const scale = linear(Math.log(low), Math.log(high), from, to);
    return (value) => scale(Math.log(Math.max(value, low)));
  };
  const ticks = (low, high, most) => {
    const rough = (high - low || 1) / most;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((wide) => wide >= rough * 0.999);
    const all = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high * (1 + 1e-9); at += 1) all.push(at * step);
    return all;
  };
  const decades = (low, high) => {
    const all = [];
    const narrow = Math.log10(high / low) < 1.7;
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const times of narrow ? [1, 2, 5] : [1]) all.push(times * 10 ** power);
    }
    return all.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  };
  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const moments = (end, most) => {
    const step = STEPS.find((wide) => end / wide <= most) || end / most;
    const all = [];
    for (let at = 0; at * step <= end * (1 + 1e-9); at += 1) all.push(at * step);
    return [all, step];
  };
  const known = (values) => (values || []).filter((value) => value != null);
  const top = (...lists) => Math.max(0, ...lists.map((list) => known(list).reduce((a, b) => Math.max(a, b), 0)));
  const bottom = (list, above) =>
    known(list).reduce((low, value) => (value > above && value < low ? value : low), Infinity);

  // ---- Paths. Where a value is missing, so is the line.

  const point = (x, y) => x.toFixed(1) + ' ' + y.toFixed(1);
  const runs = (values) => {
    const found = [];
    let run = [];
    values.forEach((value, place) => {
      if (value == null) {
        if (run.length) found.push(run);
        run = [];
      } else run.push(place);
    });
    if (run.length) found.push(run);
    return found;
  };
  const line = (xs, values, y) =>
    runs(values).map((run) => {
      // One point alone would leave no mark.
      if (run.length === 1) return 'M' + point(xs[run[0]] - 1, y(values[run[0]])) + 'h2';
      return 'M' + run.map((place) => point(xs[place], y(values[place]))).join('L');
    }).join('');
  const between = (xs, low, high, y) =>
    runs(high).map((run) => {
      const there = run.map((place) => point(xs[place], y(high[place])));
      const back = run.map((place) => point(xs[place], y(low[place] == null ? 0 : low[place]))).reverse();
      return 'M' + there.concat(back).join('L') + 'Z';
    }).join('');

  // ---- What both charts share: a frame, a legend that is the readout as well, a line one can move.

  const GUTTER = () => (root.clientWidth < 480 ? 52 : 58);

  function track(plot, title, entries, height, width) {
    const head = block('div', 'head', plot);
    block('span', 'title', head, title);
    const values = entries.map(([name, className]) => {
      const entry = block('span', 'entry ' + className, head);
      block('i', '', entry);
      entry.append(name + ' ');
      return block('b', '', entry);
    });
    const svg = shape('svg', { viewBox: `0 0 ${width} ${height}`, width, height, 'aria-hidden': 'true' }, plot);
    return { svg, values, height, width };
  }

  function rules(svg, marks, y, left, right, format) {
    for (const value of marks) {
      const at = y(value).toFixed(1);
      shape('line', { class: 'grid', x1: left, x2: right, y1: at, y2: at }, svg);
      shape('text', { class: 'axis', x: left - 8, y: at, dy: '0.32em', 'text-anchor': 'end' }, svg, short(format)(value));
    }
  }

  // Arrows, Page, Home and End move it, and so does the pointer.
  function slider(plot, label, describedBy, length, start, show, indexAt) {
    let place = start;
    plot.tabIndex = 0;
    for (const [name, value] of [['role', 'slider'], ['aria-label', label], ['aria-valuemin', 0]]) {
      plot.setAttribute(name, value);
    }
    plot.setAttribute('aria-valuemax', length - 1);
    if (describedBy) plot.setAttribute('aria-describedby', describedBy);
    const move = (to) => {
      place = Math.min(length - 1, Math.max(0, to));
      plot.setAttribute('aria-valuenow', place);
      plot.setAttribute('aria-valuetext', show(place));
    };
    const far = Math.max(1, Math.round(length / 10));
    plot.onkeydown = (event) => {
      const to = {
        ArrowLeft: place - 1, ArrowDown: place - 1, ArrowRight: place + 1, ArrowUp: place + 1,
        PageDown: place - far, PageUp: place + far, Home: 0, End: length - 1,
      }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move(to);
    };
    const follow = (event) => {
      const box = plot.getBoundingClientRect();
      move(indexAt(event.clientX - box.left));
    };
    plot.onpointermove = follow;
    plot.onpointerdown = follow;
    move(place);
  }

  // ---- Everything over one time axis.

  function overTime(figure, scenario) {
    const plot = figure.querySelector('.plot');
    const width = Math.max(240, plot.clientWidth || 960);
    plot.textContent = '';
    const w = scenario.w;
    const m = scenario.m;
    const left = GUTTER();
    const right = width - 10;
    const end = Math.max(w.end, 1e-3);
    const ends = [...w.t.slice(1), end];
    const x = linear(0, end, left, right);
    const crosses = [];
    const readouts = [];

    // A window's figures stand in its middle; the first and last reach to the edges.
    const middles = w.t.map((start, place) => x((start + ends[place]) / 2));
    const xs = [x(w.t[0]), ...middles, x(end)];
    const wide = (values) => [values[0], ...values, values[values.length - 1]];
    const sampled = (m.t || []).map((at) => x(Math.min(Math.max(at, 0), end)));

    const backdrop = (svg, height) => {
      scenario.ph.forEach(([, from, to], place) => {
        const at = { x: x(Math.min(from, end)).toFixed(1), y: 0, height };
        const size = { width: Math.max(0, x(Math.min(to, end)) - x(Math.min(from, end))).toFixed(1) };
        if (place % 2) shape('rect', { class: 'phase', ...at, ...size }, svg);
        if (place) shape('line', { class: 'edge', x1: at.x, x2: at.x, y1: 0, y2: height }, svg);
      });
      for (const [at] of scenario.mk) {
        shape('line', { class: 'event', x1: x(at).toFixed(1), x2: x(at).toFixed(1), y1: 0, y2: height }, svg);
      }
    };
    const cross = (svg, height) => {
      crosses.push(shape('line', { class: 'cross', x1: 0, x2: 0, y1: 0, y2: height }, svg));
    };

    // Which fault and which phase it is: once, above all.
    const flags = scenario.mk.length ? 20 : 0;
    const above = flags + (scenario.ph.length ? 20 : 0) || 2;
    const strip = shape('svg', { viewBox: `0 0 ${width} ${above}`, width, height: above, 'aria-hidden': 'true' }, plot);
    backdrop(strip, above);
    scenario.ph.forEach(([name, from, to]) => {
      const room = x(Math.min(to, end)) - x(Math.min(from, end)) - 8;
      if (name.length * 6.4 < room) shape('text', { class: 'name', x: (x(from) + 6).toFixed(1), y: flags + 14 }, strip, name);
    });
    scenario.mk.forEach(([at], place) => {
      shape('circle', { class: 'flag', cx: x(at).toFixed(1), cy: 10, r: 8 }, strip);
      shape('text', { class: 'flag', x: x(at).toFixed(1), y: 13.5, 'text-anchor': 'middle' }, strip, place + 1);
    });
    cross(strip, above);

    const add = (title, entries, height, paint) => {
      const { svg, values } = track(plot, title, entries, height, width);
      backdrop(svg, height);
      paint(svg);
      cross(svg, height);
      entries.forEach(([name, , of], place) => readouts.push([values[place], of, title + ' ' + name]));
    };
    const path = (svg, className, d) => d && shape('path', { class: className, d }, svg);
    const ofWindow = (values, format) => ({ window }) => format(values ? values[window] : null);
    const ofSample = (values, format) => ({ sample }) => format(values && sample >= 0 ? values[sample] : null);

    {
      const most = top(w.of, w.hi || w.ok, w.er) * 1.08 || 1;
      const y = linear(0, most, 116, 6);
      const entries = [];
      if (w.of) entries.push(['offered', 'offered', ofWindow(w.of, rate)]);
      entries.push(['achieved', 'achieved', ofWindow(w.ok, rate)], ['errors', 'failed', ofWindow(w.er, rate)]);
      add('Rate', entries, 122, (svg) => {
        rules(svg, ticks(0, most, 3), y, left, right, rate);
        path(svg, 'achieved fill', between(xs, xs.map(() => 0), wide(w.ok), y));
        if (w.lo) path(svg, 'achieved range', between(xs, wide(w.lo), wide(w.hi), y));
        path(svg, 'achieved', line(xs, wide(w.ok), y));
        if (w.of) path(svg, 'offered', line(xs, wide(w.of), y));
        if (top(w.er) > 0) {
          path(svg, 'failed fill', between(xs, xs.map(() => 0), wide(w.er), y));
          path(svg, 'failed', line(xs, wide(w.er), y));
        }
      });
    }
    if (w.p50) {
      const low = bottom(w.p50, 0) * 0.8;
      const high = top(w.max, w.p50) * 1.25;
      const y = logarithmic(low, high, 194, 6);
      const names = [['p50', 'p50'], ['p95', 'p95'], ['p99', 'p99'], ['p999', 'p99.9'], ['max', 'max']];
      const there = names.filter(([key]) => w[key] && top(w[key]) > 0);
      const entries = there.map(([key, name]) => [name, key, ofWindow(w[key], time)]);
      add('Latency', entries, 200, (svg) => {
        rules(svg, decades(low, high), y, left, right, time);
        there.slice(1).forEach(([key], place) => {
          path(svg, key + ' fill', between(xs, wide(w[there[place][0]]), wide(w[key]), y));
        });
        for (const [key] of there.slice().reverse()) path(svg, key, line(xs, wide(w[key]), y));
      });
    }
    {
      const most = top(w.fl) * 1.1 || 1;
      const y = linear(0, most, 64, 6);
      add('In flight', [['most', 'flight', ofWindow(w.fl, count)]], 70, (svg) => {
        rules(svg, ticks(0, most, 2).filter(Number.isInteger), y, left, right, count);
        path(svg, 'flight fill', between(xs, xs.map(() => 0), wide(w.fl), y));
        path(svg, 'flight', line(xs, wide(w.fl), y));
      });
    }
    if (m.rss || m.lv) {
      const high = top(m.rss, m.lv);
      const low = Math.min(bottom(m.rss, 0), bottom(m.lv, 0));
      // From 0, unless that would flatten what moves.
      const from = low > high * 0.5 ? Math.max(0, low - (high - low) * 0.3 - high * 0.01) : 0;
      const to = high + (high - from) * 0.08 || 1;
      const y = linear(from, to, 76, 6);
      const entries = [];
      if (m.rss) entries.push(['resident', 'rss', ofSample(m.rss, bytes)]);
      if (m.lv) entries.push(['live', 'live', ofSample(m.lv, bytes)]);
      add(from > 0 ? 'Memory, not from 0' : 'Memory', entries, 82, (svg) => {
        rules(svg, ticks(from, to, 3), y, left, right, bytes);
        if (m.rss) path(svg, 'rss', line(sampled, m.rss, y));
        if (m.lv) path(svg, 'live', line(sampled, m.lv, y));
      });
    }
    if (m.ow) {
      const y = linear(0, 1000, 64, 6);
      const sum = (...lists) => m.ow.map((own, place) =>
        own == null ? null : lists.reduce((all, list) => all + ((list && list[place]) || 0), own));
      const others = sum(m.ot);
      const stolen = sum(m.ot, m.st);
      const entries = [
        ['ours', 'own', ofSample(m.ow, share)], ['others', 'others', ofSample(m.ot, share)],
        ['stolen', 'stolen', ofSample(m.st, share)],
      ];
      add('Processors', entries, 70, (svg) => {
        rules(svg, [0, 500, 1000], y, left, right, (permille) => permille / 10 + '%');
        path(svg, 'own fill', between(sampled, m.ow.map(() => 0), m.ow, y));
        path(svg, 'others fill', between(sampled, m.ow, others, y));
        path(svg, 'stolen fill', between(sampled, others, stolen, y));
      });
    }
    const moves = (list) => known(list).some((value) => value !== known(list)[0]);
    if (moves(m.th) || moves(m.fd)) {
      const most = top(m.th, m.fd) * 1.1;
      const y = linear(0, most, 54, 6);
      const entries = [];
      if (m.th) entries.push(['threads', 'threads', ofSample(m.th, count)]);
      if (m.fd) entries.push(['open files', 'files', ofSample(m.fd, count)]);
      add('Handles', entries, 60, (svg) => {
        rules(svg, ticks(0, most, 2), y, left, right, count);
        if (m.th) path(svg, 'threads', line(sampled, m.th, y));
        if (m.fd) path(svg, 'files', line(sampled, m.fd, y));
      });
    }
    const axis = shape('svg', { viewBox: `0 0 ${width} 22`, width, height: 22, 'aria-hidden': 'true' }, plot);
    const [all, step] = moments(end, Math.max(3, Math.floor((right - left) / 90)));
    for (const at of all) {
      const anchor = at === 0 ? 'start' : x(at) > right - 20 ? 'end' : 'middle';
      shape('line', { class: 'tick', x1: x(at).toFixed(1), x2: x(at).toFixed(1), y1: 0, y2: 4 }, axis);
      shape('text', { class: 'axis', x: x(at).toFixed(1), y: 16, 'text-anchor': anchor }, axis, clock(at, step, end));
    }
    const chip = shape('g', { class: 'moment' }, axis);
    const chipBox = shape('rect', { y: 3, height: 18, rx: 3 }, chip);
    const chipText = shape('text', { y: 16, 'text-anchor': 'middle' }, chip);

    const phaseAt = (at) => scenario.ph.find(([, from, to]) => at >= from && at < to);
    const show = (place) => {
      const at = (w.t[place] + ends[place]) / 2;
      // A thin chart marks the middle of a window, which is where its point is.
      for (const it of crosses) it.setAttribute('transform', `translate(${x(at).toFixed(1)} 0)`);
      let sample = -1;
      (m.t || []).forEach((moment, index) => {
        if (sample < 0 || Math.abs(moment - at) < Math.abs(m.t[sample] - at)) sample = index;
      });
      const phase = phaseAt(at);
      chipText.textContent = clock(w.t[place], step, end) + (phase ? ' · ' + phase[0] : '');
      const half = chipText.textContent.length * 3.5 + 8;
      const centre = Math.min(right - half, Math.max(left + half, x(at)));
      chipBox.setAttribute('x', (centre - half).toFixed(1));
      chipBox.setAttribute('width', (2 * half).toFixed(1));
      chipText.setAttribute('x', centre.toFixed(1));
      const told = readouts.map(([element, of, name]) => {
        element.textContent = of({ window: place, sample });
        return name + ' ' + element.textContent;
      });
      return `${clock(w.t[place], step, end)}${phase ? ', phase ' + phase[0] : ''}: ${told.join(', ')}`;
    };
    // It rests where the tail was longest.
    const tail = known(w.p99).length ? w.p99 : w.ok;
    const worst = tail.reduce((best, value, place) => (value > (tail[best] ?? -1) ? place : best), 0);
    const nearest = (offset) => {
      let best = 0;
      middles.forEach((middle, place) => {
        if (Math.abs(middle - offset) < Math.abs(middles[best] - offset)) best = place;
      });
      return best;
    };
    slider(plot, 'Moment of the load', caption(figure), w.t.length, figure.place ?? worst, (place) => {
      figure.place = place;
      return show(place);
    }, nearest);
  }

  // ---- The distribution: each further nine has as much room as the one before.

  function distribution(figure, scenario) {
    const plot = figure.querySelector('.plot');
    const width = Math.max(240, plot.clientWidth || 960);
    plot.textContent = '';
    const curves = [];
    if (scenario.rs.length) curves.push(['response', 'response', scenario.rs]);
    if (scenario.sv.length) curves.push(['service', 'service', scenario.sv]);
    const left = GUTTER();
    const right = width - 14;
    const height = width < 480 ? 220 : 280;
    const values = curves.flatMap(([, , curve]) => curve.map(([, ns]) => ns));
    const bounds = scenario.tg.map(([, ns]) => ns);
    const low = Math.max(1, Math.min(...values) * 0.8);
    const high = Math.max(...values, ...bounds) * 1.35;
    const widest = Math.max(10, ...curves.flatMap(([, , curve]) => curve.map(([nines]) => nines)));
    const x = logarithmic(1, widest, left, right);
    const y = logarithmic(low, high, height - 26, 14);
    const entries = [['at', 'at'], ...curves.map(([name, className]) => [name, className])];
    if (bounds.length) entries.push(['objective', 'target']);
    const { svg, values: readouts } = track(plot, 'Latency by percentile', entries, height, width);
    rules(svg, decades(low, high), y, left, right, time);
    const marks = [1, 2];
    for (let nines = 10; nines <= widest * 1.001; nines *= 10) marks.push(nines);
    let before = -Infinity;
    for (const nines of marks) {
      const at = x(nines).toFixed(1);
      shape('line', { class: 'grid', x1: at, x2: at, y1: 14, y2: height - 26 }, svg);
      if (x(nines) - before < 34) continue;
      before = x(nines);
      const anchor = x(nines) > right - 20 ? 'end' : 'middle';
      const name = nines === 1 ? 'min' : percent(nines);
      shape('text', { class: 'axis', x: at, y: height - 9, 'text-anchor': anchor }, svg, name);
    }
    // Service time first: response time is what counts, and lies above.
    for (const [, className, curve] of curves.slice().reverse()) {
      const d = line(curve.map(([nines]) => x(nines)), curve.map(([, ns]) => ns), y);
      shape('path', { class: className, d }, svg);
    }
    for (const [percentile, ns, held] of scenario.tg) {
      const nines = Math.min(widest, 1 / (1 - percentile / 100));
      const state = held ? 'target' : 'target bad';
      const [cx, cy] = [x(nines), y(ns)];
      shape('line', { class: state, x1: (cx - 16).toFixed(1), x2: (cx + 16).toFixed(1), y1: cy.toFixed(1), y2: cy.toFixed(1) }, svg);
      const anchor = cx > right - 50 ? 'end' : 'middle';
      shape('text', { class: state, x: Math.min(cx, right).toFixed(1), y: (cy - 6).toFixed(1), 'text-anchor': anchor }, svg,
        `p${percentile} ${short(time)(ns)}`);
    }
    const cross = shape('line', { class: 'cross', x1: 0, x2: 0, y1: 14, y2: height - 26 }, svg);
    const dots = curves.map(([, className]) => shape('circle', { class: className + ' dot', r: 3.5 }, svg));
    // Evenly over the axis, and exactly at the percentiles that have a name.
    const named = [1, 2, 10, 20, 100, 1e3, 1e4, 1e5].filter((nines) => nines < widest);
    const even = Array.from({ length: 99 }, (_, place) => Math.exp((Math.log(widest) * (place + 1)) / 99));
    const stops = [...named, ...even].sort((a, b) => a - b);
    const valueAt = (curve, nines) => {
      const after = curve.findIndex(([upTo]) => upTo >= nines * (1 - 1e-6));
      if (after <= 0) return curve[after < 0 ? curve.length - 1 : 0][1];
      const [[n0, v0], [n1, v1]] = [curve[after - 1], curve[after]];
      return n1 > n0 ? v0 * (v1 / v0) ** Math.min(1, Math.log(nines / n0) / Math.log(n1 / n0)) : v1;
    };
    const show = (place) => {
      const nines = stops[place];
      cross.setAttribute('transform', `translate(${x(nines).toFixed(1)} 0)`);
      const name = place === 0 ? 'min' : place === stops.length - 1 ? 'max' : percent(nines);
      readouts[0].textContent = name;
      const told = curves.map(([curveName, , curve], index) => {
        const ns = valueAt(curve, nines);
        dots[index].setAttribute('cx', x(nines).toFixed(1));
        dots[index].setAttribute('cy', y(ns).toFixed(1));
        readouts[index + 1].textContent = time(ns);
        return `${curveName} time ${time(ns)}`;
      });
      if (bounds.length) {
        const met = scenario.tg.filter(([, , held]) => held).length;
        readouts[readouts.length - 1].textContent = `${met} of ${bounds.length} hold`;
      }
      return `${name}: ${told.join(', ')}`;
    };
    const nearest = (offset) => {
      const far = (nines) => Math.abs(x(nines) - offset);
      return stops.reduce((best, nines, place) => (far(nines) < far(stops[best]) ? place : best), 0);
    };
    const p99 = Math.max(stops.indexOf(100), stops.indexOf(named[named.length - 1]) * (widest <= 100));
    slider(plot, 'Percentile', caption(figure), stops.length, figure.place ?? p99, (place) => {
      figure.place = place;
      return show(place);
    }, nearest);
  }

  const caption = (figure) => {
    const element = figure.querySelector('figcaption');
    if (!element) return null;
    element.id = element.id || 'c-' + (figure.dataset.time || figure.dataset.curve) + (figure.dataset.time ? 't' : 'd');
    return element.id;
  };

  // ---- The page.

  const scenarios = new Map(JSON.parse(document.getElementById('data').textContent).map((it) => [it.id, it]));
  const figures = [...document.querySelectorAll('figure.chart')];
  const drawn = new Map();
  const isShown = (figure) => !figure.closest('details:not([open])');
  const draw = (figure) => {
    const width = figure.querySelector('.plot').clientWidth;
    if (!isShown(figure) || drawn.get(figure) === width) return;
    const kind = figure.dataset.time ? overTime : distribution;
    kind(figure, scenarios.get(figure.dataset.time || figure.dataset.curve));
    drawn.set(figure, width);
    root.dataset.drawn = drawn.size;
  };
  const drawAll = () => figures.forEach(draw);
  root.dataset.drawn = 0;
  drawAll();
  document.querySelectorAll('details').forEach((it) => it.addEventListener('toggle', drawAll));
  let waiting = 0;
  window.addEventListener('resize', () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawAll);
  });
  window.addEventListener('beforeprint', () => {
    document.querySelectorAll('details.scenario').forEach((it) => { it.open = true; });
    drawAll();
  });

  // A link to a scenario unfolds it.
  const unfold = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === 'DETAILS') {
      target.open = true;
      drawAll();
    }
  };
  window.addEventListener('hashchange', unfold);
  unfold();

  const button = document.getElementById('copy');
  const command = document.getElementById('command');
  button.hidden = false;
  button.addEventListener('click', async () => {
    let copied = false;
    try {
      await navigator.clipboard.writeText(command.textContent);
      copied = true;
    } catch {
      // Some browsers have no clipboard for files; then it is at least selected.
      const range = document.createRange();
      range.selectNodeContents(command);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      copied = document.execCommand('copy');
    }
    button.textContent = copied ? 'Copied' : 'Selected';
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });

  root.dataset.script = 'done';
})();
