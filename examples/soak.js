// A level load for a long time, to see what grows or slows down.
//
//   lambdaload run examples/soak.js --workers 2 -e TARGET=http://127.0.0.1:8080 -e DURATION=20m -e RATE=100
//
// The summary and the report say whether response times and failures drift.
import { check } from 'k6';
import http from 'k6/http';

if (!__ENV.TARGET) {
  throw new Error('TARGET is not set; give the address to test, for example -e TARGET=http://127.0.0.1:8080');
}

export const options = {
  scenarios: {
    level: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE || 100),
      timeUnit: '1s',
      duration: __ENV.DURATION || '20m',
      preAllocatedVUs: 20,
      maxVUs: 40,
    },
  },
  thresholds: {
    http_req_duration: ['p(95)<500'],
    http_req_failed: ['rate<0.01'],
    checks: ['rate>0.99'],
  },
};

export default function () {
  const page = http.get(`${__ENV.TARGET}/`, { tags: { name: 'home' } });
  check(page, { 'is 200': (r) => r.status === 200 });
}
