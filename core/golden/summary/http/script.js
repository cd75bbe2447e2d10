// Plain HTTP: the metrics every test has, one of every ten requests failing.
import http from 'k6/http';

export const options = { vus: 3, iterations: 30 };

export default function () {
  http.get(`${__ENV.TARGET}/`);
  http.get(`${__ENV.TARGET}/slow?ms=${10 + __ITER}`);
  if (__ITER % 5 === 0) {
    http.get(`${__ENV.TARGET}/status/500`);
  }
}
