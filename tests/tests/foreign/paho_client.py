"""A game server's connection by paho-mqtt: PORT KEY-LINE, and a sealed status on standard input.

Subscribes to its inbox (and to one that is not its own), publishes an unsealed event and the sealed status, and prints the first
message that comes. Derives the MQTT password as docs/PROTOCOL.md says.
"""
import base64
import hashlib
import hmac
import queue
import sys

import paho.mqtt.client as mqtt

WAIT_S = 20


def hkdf(key, salt, info):
    """RFC 5869 with SHA-256 and 32 bytes of output: one round."""
    extracted = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def main():
    port, key_line = int(sys.argv[1]), sys.argv[2]
    status = sys.stdin.buffer.read()
    _, server, epoch, generation, key = key_line.split(".")
    secret = hkdf(base64.urlsafe_b64decode(key + "="), b"handover/v1 server", b"mqtt-password")
    password = f"{epoch}.{generation}." + base64.urlsafe_b64encode(secret).decode().rstrip("=")
    topic = f"handover/v1/servers/{server}/"

    connected, granted, messages = queue.Queue(), queue.Queue(), queue.Queue()
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=f"gs-{server}", protocol=mqtt.MQTTv311, clean_session=True
    )
    client.username_pw_set(server, password)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: connected.put(reason)
    client.on_subscribe = lambda _client, _data, _id, reasons, _properties: granted.put(reasons)
    client.on_message = lambda _client, _data, message: messages.put(message)
    client.connect("127.0.0.1", port, keepalive=5)
    client.loop_start()
    reason = connected.get(timeout=WAIT_S)
    if reason.is_failure:
        sys.exit(f"not let in: {reason}")

    client.subscribe([(topic + "inbox", 1), ("handover/v1/servers/+/status", 1)])
    print("granted", *(reason.value for reason in granted.get(timeout=WAIT_S)))
    for of, payload in [("events", b"not sealed"), ("status", status)]:
        sent = client.publish(topic + of, payload, qos=1)
        sent.wait_for_publish(WAIT_S)
        print("acknowledged" if sent.is_published() else "not acknowledged")
    message = messages.get(timeout=WAIT_S)
    print(message.topic, message.qos, message.payload.hex())
    client.disconnect()
    client.loop_stop()


main()
