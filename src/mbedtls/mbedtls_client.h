/* On top of Zephyr's configuration of Mbed TLS: the device is a TLS client and nothing else. */
#undef MBEDTLS_SSL_SRV_C

/*
 * What comes: a service may put 16 KiB into a record (RFC 8446, section 5.1), and does for a message that is longer than one. What goes
 * out is never longer than Zephyr's option says.
 */
#undef MBEDTLS_SSL_IN_CONTENT_LEN
#define MBEDTLS_SSL_IN_CONTENT_LEN 16384

/* Two threads use it: src/shim.c has the locks. */
#define MBEDTLS_THREADING_C
#define MBEDTLS_THREADING_ALT

/*
 * Fast reduction modulo P-256's prime: a signature costs a fifth of what it does without, for 848 B of flash
 * (docs/measurements.md). Zephyr's option for it does not reach a configuration by PSA_WANT.
 */
#define MBEDTLS_ECP_NIST_OPTIM

/*
 * Zephyr's CTR_DRBG asks the entropy source before every request after the first (prediction resistance, SP 800-90A,
 * 9.3), so that nothing comes of it any more once the source has failed a health test.
 */
#define MBEDTLS_CTR_DRBG_RESEED_INTERVAL 0
/*
 * Bytes of entropy input: 384 bits of min-entropy, which are the 256 of AES-256 and the 128 of the nonce, from a source
 * with as many bits in a byte as the devicetree says. Mbed TLS condenses them by the derivation function of SP 800-90A.
 */
#include <zephyr/devicetree.h>
#if !DT_NODE_HAS_COMPAT(DT_CHOSEN(zephyr_entropy), sensor_health_tested_entropy)
#error "Keys are made of health-tested entropy only: zephyr,entropy must be a sensor,health-tested-entropy over the board's source (docs/vault.md)."
#endif
#define MBEDTLS_CTR_DRBG_ENTROPY_BITS DT_PROP(DT_CHOSEN(zephyr_entropy), min_entropy_bits)
#define MBEDTLS_CTR_DRBG_ENTROPY_LEN ((384 + MBEDTLS_CTR_DRBG_ENTROPY_BITS - 1) / MBEDTLS_CTR_DRBG_ENTROPY_BITS)
/* And the personalisation string. */
#define MBEDTLS_CTR_DRBG_MAX_SEED_INPUT 448
