// No request at all, and no group, check or custom metric.
import { sleep } from 'k6';

export const options = { vus: 2, duration: '1200ms' };

export default function () {
  sleep(0.25);
}
