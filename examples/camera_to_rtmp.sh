#!/bin/sh
# Sends what a camera sees, with the room around people blurred, to a server of RTMP:
#   examples/camera_to_rtmp.sh rtmp://host/live/key [SOURCE]
# SOURCE is a webcam's number, a stream or a video. It needs: pip install "edgeseg[device]"
set -eu
exec edgeseg camera person.int8 --source "${2:-0}" --visualize blur --no-show --save "$1"
