"""Analytics output: what was found in frames as JSON lines, MQTT messages, ONVIF metadata, WebVTT cues and timed data.

``open_sink`` is where to start. Nothing here changes a frame.
"""

from duoview.plugins.analytics.json_lines import JsonLinesSink
from duoview.plugins.analytics.mqtt import MqttSink
from duoview.plugins.analytics.onvif import OnvifSink
from duoview.plugins.analytics.record import Record
from duoview.plugins.analytics.sink import Sink
from duoview.plugins.analytics.sinks import SINKS, open_sink
from duoview.plugins.analytics.timed_data import KlvSink, TimedDataSink
from duoview.plugins.analytics.timed_data_reader import TimedDataReader, read_records
from duoview.plugins.analytics.webvtt import WebVttSink

__all__ = [
    "SINKS",
    "JsonLinesSink",
    "KlvSink",
    "MqttSink",
    "OnvifSink",
    "Record",
    "Sink",
    "TimedDataReader",
    "TimedDataSink",
    "WebVttSink",
    "open_sink",
    "read_records",
]
