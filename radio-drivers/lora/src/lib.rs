//! LoRaWAN network and join server over the Semtech UDP packet-forwarder protocol.
