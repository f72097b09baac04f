//! Brokers behind the relay: MQTT by rumqttc, every known loss closed.
