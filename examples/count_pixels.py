"""Count the pixels of each class of a camera, and append them to a CSV file or send them over MQTT.

python examples/count_pixels.py SOURCE --csv counts.csv --every 10
python examples/count_pixels.py rtsp://camera/1 --mqtt broker:1883/street --every 1     (pip install paho-mqtt)
"""

import argparse
import csv
import json
import time
from datetime import datetime, timezone
from pathlib import Path

from edgeseg import Camera, Segmenter, open_source

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("source", help="a webcam's number, a stream, a video or a folder")
parser.add_argument("--model", default="efficientnet_lite0_unet", help="an artifact, or a packaged model")
parser.add_argument("--every", type=float, default=1.0, help="seconds between two counts; 0 counts every frame")
parser.add_argument("--csv", type=Path, help="a file to append to")
parser.add_argument("--mqtt", metavar="HOST:PORT/TOPIC", help="where JSON is published")
options = parser.parse_args()

client = topic = None
if options.mqtt:
    import paho.mqtt.client as mqtt

    address, _, topic = options.mqtt.partition("/")
    host, _, port = address.partition(":")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect(host, int(port or 1883))
    client.loop_start()  # sends, and connects again, in a thread of its own

with Segmenter(options.model) as segmenter, Camera(segmenter, open_source(options.source)) as camera:
    names = segmenter.spec.class_names
    if options.csv and not options.csv.exists():
        options.csv.write_text(",".join(["time", *names]) + "\n")
    due = 0.0
    for frame in camera:
        if time.monotonic() < due:
            continue
        due = time.monotonic() + options.every
        counts = frame.segmentation.counts()
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        if options.csv:
            with options.csv.open("a", newline="") as file:
                csv.writer(file).writerow([now, *counts.values()])
        if client:
            client.publish(topic, json.dumps({"time": now, "pixels": counts}), qos=1).wait_for_publish(10)
        if not (options.csv or client):
            print(now, counts)
if client:
    client.disconnect()
    client.loop_stop()
