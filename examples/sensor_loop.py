"""A sensor, a model, an answer a second: python sensor_loop.py MODEL.elstm. Ctrl-C stops it."""

import sys
import time

import edgelstm


def read_sensor() -> float | None:
    """The temperature of a Raspberry Pi's own CPU, in degrees Celsius. Put your sensor here; None where it fails."""
    try:
        with open("/sys/class/thermal/thermal_zone0/temp") as file:
            return int(file.read()) / 1000
    except OSError:
        return None


def main(path: str, period: float = 1.0) -> None:
    stream = edgelstm.Stream(path, carry=True, gaps="hold")  # takes and gives the sensor's numbers, not scaled ones
    due = time.monotonic()
    try:
        while True:
            answer = stream.feed(read_sensor())
            if answer is not None:
                print(answer.sample, *answer.values, flush=True)
            due += period  # adding up periods, not sleeping through them, keeps the clock
            time.sleep(max(0.0, due - time.monotonic()))
    except KeyboardInterrupt:
        print(f"{stream.counts.samples} samples, {stream.counts.held} of them held", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
