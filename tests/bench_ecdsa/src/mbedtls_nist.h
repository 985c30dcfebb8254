/* Reduction modulo NIST's primes in place of a division: Zephyr's Kconfig offers it to the legacy API only. */
#define MBEDTLS_ECP_NIST_OPTIM
