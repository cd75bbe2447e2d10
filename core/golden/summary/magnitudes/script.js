// Numbers and times of all magnitudes, each as a gauge of its own. (JSON has no infinity to compare with.)
import { Gauge } from 'k6/metrics';

const TIMES = [0, 1e-7, 5e-7, 1e-6, 1.9e-6, 0.00029, 0.000999, 0.0009999, 0.001, 0.00115, 0.00123456, 0.0082, 0.0999999,
  0.12999999999999998, 0.57, 0.58, 0.99999, 0.9999999, 1, 1.005, 1.15, 1.255, 2.01, 4.35, 8.2, 8.21, 10.12, 16.08, 33.33,
  59.999, 99.995, 123.456, 999.99, 999.9999999, 1000, 1005, 1150, 1990, 8200, 12345.678, 59990, 59999.999, 60000, 60001,
  61500, 61999, 90000, 119999.9, 120000, 599999, 3599999, 3600000, 3600001, 3661500, 5400000, 86400000, 90061001, 1e10,
  1e15, 1e20];
const NUMBERS = [0, 1e-9, 1.23e-6, 4.9999e-7, 5e-7, 0.00048828125, 0.0078125, 0.0234375, 0.1, 0.1234565, 1 / 3, 2 / 3,
  0.99999949, 0.9999999, 1, 1.0000001, 1.0000005, 1.0000015, 1.5, 2.0078125, 3.14159265, 9.999999999, 100, 123.456,
  999.9999999, 1234.5678, 12345.678901, 1e6, 1234567.0078125, 123456789.0078125, 123456789.123456, 1e12, 1e15,
  123456789012345.678, 1e20, 1e21, 1.5e21, 1e100];

function gauges(prefix, values, isTime) {
  const signed = values.flatMap((value) => (value === 0 ? [value] : [value, -value]));
  return signed.map((value, i) => [new Gauge(`${prefix}_${1000 + i}`, isTime), value]);
}

const all = [...gauges('time', TIMES, true), ...gauges('number', NUMBERS, false)];

export const options = { vus: 1, iterations: 1 };

export default function () {
  all.forEach(([gauge, value]) => gauge.add(value));
}
