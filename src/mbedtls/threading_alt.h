/* What Mbed TLS locks with: Zephyr's mutexes. src/shim.c takes and gives them. */
#ifndef THREADING_ALT_H_
#define THREADING_ALT_H_

#include <zephyr/kernel.h>

typedef struct k_mutex mbedtls_threading_mutex_t;

#endif
