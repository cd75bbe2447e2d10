// Custom metrics of all four types: times, negative, large and fractional values.
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

const basket = new Trend('basket_value');
const delay = new Trend('delay', true);
const sold = new Counter('sold');
const bytes = new Counter('big_counter');
const waited = new Counter('waited', true);
const stock = new Gauge('stock');
const age = new Gauge('age', true);
const hits = new Rate('hits');
const never = new Rate('never');
new Trend('unused');

export const options = {
  vus: 1,
  iterations: 3,
  thresholds: { 'basket_value{shop:a}': ['avg<5'], 'sold{shop:b}': ['count>=0'], never: ['rate<0.5'] },
};

export default function () {
  basket.add(1.23456789, { shop: 'a' });
  basket.add(-12345.678, { shop: 'b' });
  basket.add(1e10);
  delay.add(-3);
  delay.add(0.00042);
  delay.add(61500.25 * (__ITER + 1));
  sold.add(1.5, { shop: 'a' });
  sold.add(-0.25, { shop: 'c' });
  bytes.add(1e15);
  waited.add(1234.5);
  stock.add(3.14159265 * (2 - __ITER));
  age.add(3600001 * (__ITER + 1));
  hits.add(__ITER !== 1);
}
