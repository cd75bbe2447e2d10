// A small shop under load: visitors browse at a planned rate while buyers check out one order after the other.
//
//   lambdaload run examples/checkout.js --workers 4 -e TARGET=http://127.0.0.1:8080
//
// It takes about 12 seconds, runs as it is under `k6 run` too, and passes against the server that
// `cargo run --package lambdaload-tests --bin example-target` starts.
import { check, group, sleep } from 'k6';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

if (!__ENV.TARGET) {
  throw new Error('TARGET is not set; give the address of the shop, for example -e TARGET=http://127.0.0.1:8080');
}
const shop = __ENV.TARGET;

const orders = new Counter('orders');
const orderTime = new Trend('order_time', true);

export const options = {
  scenarios: {
    browse: {
      executor: 'ramping-arrival-rate',
      exec: 'browse',
      startRate: 10,
      timeUnit: '1s',
      preAllocatedVUs: 16,
      maxVUs: 32,
      stages: [
        { target: 60, duration: '4s' },
        { target: 60, duration: '6s' },
        { target: 0, duration: '2s' },
      ],
      gracefulStop: '3s',
    },
    buy: {
      executor: 'constant-vus',
      exec: 'buy',
      startTime: '1s',
      vus: 8,
      duration: '10s',
      gracefulStop: '3s',
    },
  },
  thresholds: {
    http_req_duration: ['p(95)<250', 'avg<150'],
    'http_req_duration{name:cart}': ['p(99)<200'],
    http_req_failed: ['rate<0.01'],
    checks: ['rate>0.99'],
    orders: ['count>100'],
  },
};

export function browse() {
  group('browse', () => {
    const front = http.get(`${shop}/`, { tags: { name: 'front' } });
    check(front, { 'the front page is there': (answer) => answer.status === 200 });
    const cart = http.get(`${shop}/cart`, { tags: { name: 'cart' } });
    check(cart, { 'the cart opens': (answer) => answer.status === 200 });
  });
}

export function buy() {
  const start = Date.now();
  group('order', () => {
    http.get(`${shop}/cart`, { tags: { name: 'cart' } });
    // Finding the price takes the shop a moment.
    http.get(`${shop}/slow?ms=20`, { tags: { name: 'price' } });
    const paid = http.post(`${shop}/checkout`, JSON.stringify({ items: 1 }), { tags: { name: 'checkout' } });
    if (check(paid, { 'the order is paid': (answer) => answer.status === 200 })) {
      orders.add(1);
      orderTime.add(Date.now() - start);
    }
  });
  sleep(0.3);
}
