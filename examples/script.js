// The shortest useful test: two visitors for five seconds.
//
//   lambdaload run examples/script.js -e TARGET=http://127.0.0.1:8080
import http from 'k6/http';
import { sleep } from 'k6';

if (!__ENV.TARGET) {
  throw new Error('TARGET is not set; give it an address, for example -e TARGET=http://127.0.0.1:8080');
}

export const options = {
  vus: 2,
  duration: '5s',
  thresholds: { http_req_failed: ['rate<0.01'] },
};

export default function () {
  http.get(__ENV.TARGET);
  sleep(0.1);
}
