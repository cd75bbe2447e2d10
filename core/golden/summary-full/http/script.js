// The scenario `default`, requests in groups and outside, and a group whose requests all fail.
import http from 'k6/http';
import { check, group } from 'k6';
import { Trend } from 'k6/metrics';

const basket = new Trend('basket_value');

export const options = {
  vus: 2,
  iterations: 6,
  thresholds: { http_req_failed: ['rate<0.01'], 'http_req_duration{group:::buy::pay}': ['p(95)<2000'] },
};

export default function () {
  http.get(`${__ENV.TARGET}/`);
  group('browse', () => {
    http.get(`${__ENV.TARGET}/bytes/20000`);
    check(http.get(`${__ENV.TARGET}/cart`), { 'cart is there': (r) => r.status === 200 });
  });
  group('buy', () => {
    basket.add(12.5);
    group('pay', () => {
      check(http.post(`${__ENV.TARGET}/status/503`), { paid: (r) => r.status === 200, answered: () => true });
    });
  });
}
