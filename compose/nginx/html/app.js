// Books a consultation, pays for it exactly once, and shows the receipt and the platform's state. It uses three endpoints: POST /api/payment,
// GET /api/payment/{id}, GET /api/status.

const SPECIALTIES = [
  { id: 'gp', name: 'General practice', detail: 'Cold, fever, prescriptions', cents: 4900 },
  { id: 'derm', name: 'Dermatology', detail: 'Skin, hair, nails', cents: 6900 },
  { id: 'mind', name: 'Mental health', detail: 'Anxiety, sleep, low mood', cents: 8900 },
];
const CURRENCY = 'EUR';
const STATUS = '/api/status';
const TIMES = ['09:00', '09:30', '10:00', '10:30', '11:00', '14:00', '14:30', '15:00', '15:30', '16:00'];

// A payment that got no answer is sent again under the same key, which makes that harmless.
const ATTEMPTS = 5;
const REQUEST_TIMEOUT_MS = 15_000;
const STATUS_EVERY_MS = 15_000;
// Of the payment that is under way: a reload must not lose its key.
const PENDING = 'medassist.pending';

const element = (id) => document.getElementById(id);
const money = (cents, currency) => new Intl.NumberFormat('en', { style: 'currency', currency }).format(cents / 100);
const moment = (date) => new Intl.DateTimeFormat('en', { dateStyle: 'full', timeStyle: 'short' }).format(date);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function randomHex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// 'c-derm-20261201T0930-5f0c2a': what the receipt needs, since the API keeps no more about a consultation than this.
function consultationId(specialty, day, time) {
  return `c-${specialty}-${day.replaceAll('-', '')}T${time.replace(':', '')}-${randomHex(3)}`;
}

function describeConsultation(id) {
  const parts = /^c-([a-z]+)-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)-/.exec(id);
  const specialty = SPECIALTIES.find((candidate) => candidate.id === parts?.[1]);
  if (!specialty) return { name: id, when: '—' };
  const [year, month, day, hour, minute] = parts.slice(2).map(Number);
  return { name: specialty.name, when: moment(new Date(year, month - 1, day, hour, minute)) };
}

// An answer, or an error whose `retry` says whether to send the same request again, and after how long.
async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  } catch {
    throw Object.assign(new Error('no answer'), { retry: 2 });
  }
  const trace = response.headers.get('X-Trace-Id');
  if (trace && path !== STATUS) element('reference').textContent = `Reference for support: ${trace}`;
  const body = await response.json().catch(() => ({}));
  if (response.ok) return { body, replayed: response.headers.has('Idempotency-Replayed') };
  const retry = [409, 502, 503, 504].includes(response.status) ? Number(response.headers.get('Retry-After')) || 2 : undefined;
  throw Object.assign(new Error(body.detail ?? body.title ?? `Error ${response.status}`), { retry });
}

function say(text, state = '') {
  element('message').textContent = text;
  element('message').dataset.state = state;
}

async function pay(pending) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request('/api/payment', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': pending.key },
        body: JSON.stringify(pending.payment),
      });
    } catch (error) {
      if (!error.retry || attempt === ATTEMPTS) throw error;
      say(`No answer yet; trying again (${attempt + 1} of ${ATTEMPTS}). You won’t be charged twice.`);
      await wait(error.retry * 1000);
    }
  }
}

async function submit(pending) {
  const button = element('pay');
  if (button.getAttribute('aria-disabled') === 'true') return;
  button.setAttribute('aria-disabled', 'true');
  say('Paying…');
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  try {
    const { body, replayed } = await pay(pending);
    sessionStorage.removeItem(PENDING);
    history.pushState(null, '', `?receipt=${encodeURIComponent(body.id)}`);
    say('');
    showReceipt(body, replayed ? 'This payment had arrived before: you were charged once.' : '');
  } catch (error) {
    if (error.retry) {
      // Whether it arrived is unknown: the next press repeats this payment, not a new one.
      say('MedAssist is not available at the moment. Press “Book and pay” to try again: you won’t be charged twice.', 'bad');
    } else {
      sessionStorage.removeItem(PENDING);
      say(`The payment was not made: ${error.message}`, 'bad');
    }
  } finally {
    button.removeAttribute('aria-disabled');
  }
}

function showReceipt(payment, note) {
  const { name, when } = describeConsultation(payment.consultation_id);
  element('receipt-consultation').textContent = name;
  element('receipt-when').textContent = when;
  element('receipt-amount').textContent = money(payment.amount_cents, payment.currency);
  element('receipt-paid').textContent = moment(new Date(payment.created_at));
  element('receipt-id').textContent = payment.id;
  element('receipt-note').textContent = note;
  element('booking').hidden = true;
  element('receipt').hidden = false;
  document.title = 'MedAssist: receipt';
  // So that it is read out, and that the keyboard goes on from here.
  element('receipt-title').focus();
}

async function loadReceipt(id) {
  element('booking').hidden = true;
  try {
    const { body } = await request(`/api/payment/${encodeURIComponent(id)}`);
    showReceipt(body, '');
  } catch (error) {
    element('booking').hidden = false;
    say(`The receipt can’t be shown: ${error.message}`, 'bad');
  }
}

async function refreshStatus() {
  let text = 'Some services are down: payments may fail';
  let state = 'bad';
  try {
    const { body } = await request(STATUS);
    const down = Object.entries(body.dependencies ?? {}).filter(([, verdict]) => verdict !== 'up').map(([name]) => name);
    if (body.status === 'healthy') [text, state] = ['All services are up', 'good'];
    // Without the cache all works, only slower.
    else if (down.join() === 'redis') [text, state] = ['All services are up, a little slower than usual', 'warn'];
    else if (!down.length) [text, state] = ['Starting…', 'warn'];
  } catch {
    text = 'MedAssist can’t be reached';
  }
  const status = element('status');
  // Only a change is read out.
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = state;
}

function chosen() {
  return SPECIALTIES.find(({ id }) => id === element('booking').elements.specialty.value);
}

function fillForm() {
  element('specialties').append(...SPECIALTIES.map(({ id, name, detail, cents }, index) => {
    const label = document.createElement('label');
    label.className = 'choice';
    const input = Object.assign(document.createElement('input'), { type: 'radio', name: 'specialty', value: id, checked: index === 0 });
    const text = document.createElement('span');
    const small = document.createElement('small');
    small.textContent = detail;
    text.append(name, small);
    const price = document.createElement('span');
    price.className = 'price';
    price.textContent = money(cents, CURRENCY);
    label.append(input, text, price);
    return label;
  }));
  element('time').append(...TIMES.map((time) => new Option(time, time)));
  const local = (date) => new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
  const day = element('day');
  day.min = local(new Date());
  day.value = local(new Date(Date.now() + 86_400_000));
  const showPrice = () => { element('price').textContent = money(chosen().cents, CURRENCY); };
  element('specialties').addEventListener('change', showPrice);
  showPrice();
}

function start() {
  fillForm();
  const booking = element('booking');
  // Another choice is another payment: the one that is pending ends with it.
  booking.addEventListener('change', () => sessionStorage.removeItem(PENDING));
  booking.addEventListener('submit', (event) => {
    event.preventDefault();
    const pending = JSON.parse(sessionStorage.getItem(PENDING)) ?? {
      key: randomHex(16),
      payment: { consultation_id: consultationId(chosen().id, element('day').value, element('time').value), amount_cents: chosen().cents, currency: CURRENCY },
    };
    submit(pending);
  });
  element('print').addEventListener('click', () => print());
  window.addEventListener('popstate', () => location.reload());

  const receipt = new URLSearchParams(location.search).get('receipt');
  if (receipt) loadReceipt(receipt);
  else if (sessionStorage.getItem(PENDING)) say('Your last payment got no answer. Press “Book and pay” to finish it: you won’t be charged twice.');

  refreshStatus();
  setInterval(() => document.hidden || refreshStatus(), STATUS_EVERY_MS);
}

start();
