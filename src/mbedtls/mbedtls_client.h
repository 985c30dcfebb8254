/* On top of Zephyr's configuration of Mbed TLS: the device is a TLS client and nothing else. */
#undef MBEDTLS_SSL_SRV_C
