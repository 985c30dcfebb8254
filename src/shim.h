/*
 * What Rust cannot reach through bindings: Zephyr's macros, inline functions and devicetree, and Mbed TLS's headers.
 * One line of C each; no decision is taken here. The prefix is shim_ because sensor_ is Zephyr's own sensor API.
 */
#ifndef SHIM_H_
#define SHIM_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sensor_device/entropy_health.h>
#include <zephyr/devicetree.h>
#include <zephyr/net/socket.h>

/* Log levels, as Zephyr's LOG_LEVEL_*. */
enum shim_level { SHIM_ERROR = 1, SHIM_WARNING = 2, SHIM_INFO = 3, SHIM_DEBUG = 4 };
void shim_log(enum shim_level level, const char *text);

/* The kinds of errno that the firmware tells apart: their numbers differ between C libraries. */
enum shim_errno {
	SHIM_ERRNO_OTHER,
	SHIM_ERRNO_AGAIN,
	SHIM_ERRNO_REFUSED,
	SHIM_ERRNO_UNREACHABLE,
	SHIM_ERRNO_TIMED_OUT,
	SHIM_ERRNO_ABORTED,
	SHIM_ERRNO_IO,
	SHIM_ERRNO_NOT_CONNECTED,
	SHIM_ERRNO_NO_ENTRY,
	SHIM_ERRNO_INVALID,
	SHIM_ERRNO_NO_SPACE,
	SHIM_ERRNO_NO_DEVICE,
};
/* The kind of a negative errno. */
enum shim_errno shim_errno_kind(int error);
/* The negative errno for a kind, for callbacks that Zephyr reads. */
int shim_errno_io(void);

/* What is wrong with a certificate: Mbed TLS's MBEDTLS_X509_BADCERT_*, held equal by shim.c. */
enum shim_certificate {
	SHIM_CERTIFICATE_EXPIRED = 0x01,
	SHIM_CERTIFICATE_NAME = 0x04,
	SHIM_CERTIFICATE_NOT_TRUSTED = 0x08,
	SHIM_CERTIFICATE_KEY_USAGE = 0x0800,
	SHIM_CERTIFICATE_EXTENDED_KEY_USAGE = 0x1000,
	SHIM_CERTIFICATE_FUTURE = 0x0200,
	SHIM_CERTIFICATE_OTHER = 0x0100,
};
/* True where the certificate (mbedtls_x509_crt) names itself as its issuer. */
bool shim_certificate_is_self_issued(const void *certificate);
/* True where it has a subjectAltName: without one Mbed TLS would fall back to the common name (RFC 9525 forbids it). */
bool shim_certificate_has_alternative_name(const void *certificate);
/* True where it is an authority's (basicConstraints CA:TRUE). */
bool shim_certificate_is_authority(const void *certificate);
/* Its DER, which stays as long as the handshake; gives its length in bytes. */
size_t shim_certificate_der(const void *certificate, const uint8_t **der);

/* What the handshake that has failed has failed with, as far as the firmware tells it apart. */
enum shim_handshake { SHIM_HANDSHAKE_OTHER, SHIM_HANDSHAKE_TOO_LONG, SHIM_HANDSHAKE_BROKEN_OFF };
enum shim_handshake shim_handshake_error(void);

/* Asks for an address where the board's network has DHCP; elsewhere there is nothing to be done. */
void shim_network_start(void);

/* The network's thread, beside the main thread and below it. */
void shim_network_thread_start(void (*entry)(void));
/* The device's bell: it stays rung until it was waited for. */
void shim_device_ring(void);
void shim_device_wait(uint32_t ms);
/* The network's thread waits until what it has said was heard. */
void shim_heard(void);
void shim_heard_wait(void);
/* The bell of the network's thread, a descriptor to wait for together with sockets. Negative errno on error. */
int shim_bell_open(void);
void shim_bell_ring(int bell);
void shim_bell_quiet(int bell);

/* Sockets. Negative errno on error. */
int shim_socket_tls(int family);
int shim_socket_connect(int fd, const struct sockaddr *address, socklen_t len);
int shim_socket_send(int fd, const void *data, size_t len);
/* Takes what is there, without waiting. */
int shim_socket_receive(int fd, void *data, size_t len);
int shim_socket_poll(struct zsock_pollfd *fds, int count, int timeout_ms);
int shim_socket_close(int fd);
/* How long sending may wait. */
int shim_socket_send_timeout(int fd, uint32_t timeout_ms);
/* An IPv4 address as a number, to put several in order; 0 for NULL and others. */
uint32_t shim_address_number(const struct sockaddr *address);
/* The peer must be verified against the credentials under `tags` tags from `first` on, and named `host`. */
#define SHIM_TLS_TAGS_MAX 3
int shim_tls_require(int fd, int first, int tags, const char *host);
/* `verify` is Mbed TLS's f_vrfy: context, certificate, depth, flags. */
int shim_tls_verify_with(int fd, int (*verify)(void *, void *, int, uint32_t *), void *context);

/* Time. */
uint64_t shim_uptime_ms(void);
void shim_sleep_ms(uint32_t ms);
int shim_clock_set(uint64_t seconds, uint32_t nanoseconds);
/* What time it is for certificates, in seconds since 1970. */
uint64_t shim_clock_get_s(void);
uint64_t shim_build_epoch_s(void);

/* What the devicetree says of the noise under the cryptographic generator, and bytes from that generator. */
enum { SHIM_ENTROPY_MIN_BITS = DT_PROP(DT_CHOSEN(zephyr_entropy), min_entropy_bits) };
int shim_random(void *data, size_t len);

/* The sensor: whether there is one in the devicetree and it answered at start. */
bool shim_sensor_is_ready(void);
int shim_sensor_fetch(void);
/* Each value as a whole part and millionths: degree Celsius, percent, kilopascal. */
struct shim_value {
	int32_t whole;
	int32_t millionths;
};
int shim_sensor_temperature(struct shim_value *value);
int shim_sensor_humidity(struct shim_value *value);
int shim_sensor_pressure(struct shim_value *value);

/*
 * The longest that one turn of the network's thread takes, in milliseconds (src/network.rs): after that it hangs. A name, a
 * connection, all that is sent, and its own work.
 */
enum {
	SHIM_TURN_MS = CONFIG_NET_SOCKETS_DNS_TIMEOUT + CONFIG_SENSOR_CONNECT_TIMEOUT_MS + CONFIG_SENSOR_ANSWER_TIMEOUT_MS +
		       5000
};
/* The watchdog: -ENODEV where the board has none. */
int shim_watchdog_start(uint32_t timeout_ms);
int shim_watchdog_feed(void);

/* A key (PEM) from the command line of native_sim; gives its length in bytes, 0 where there is none. */
enum shim_key { SHIM_KEY_FACTORY, SHIM_KEY_IMAGE };
size_t shim_key_file(enum shim_key key, uint8_t *data, size_t room);

/* For whom an image must be: UUIDs as text. */
const char *shim_vendor_id(void);
const char *shim_class_id(void);

#ifdef CONFIG_SENSOR_TEST_FAULTS
/* What is wrong with this image (Kconfig): 0 for nothing. */
uint32_t shim_test_fault(void);
#endif

/* The number that the silicon's vendor gave this chip; gives its length in bytes, 0 where there is none. */
size_t shim_chip_id(uint8_t *id, size_t room);

/* Why the board started, as far as the board or the firmware before the reset can tell. */
enum shim_reset {
	SHIM_RESET_UNKNOWN,
	SHIM_RESET_POWER_ON,
	SHIM_RESET_PIN,
	SHIM_RESET_SOFTWARE,
	SHIM_RESET_WATCHDOG,
	SHIM_RESET_BROWNOUT,
	SHIM_RESET_FAULT,
};
enum shim_reset shim_reset_cause(void);
/* In an orderly way. */
void shim_reboot(void);
/* The same where a thread hangs: it is reported as a watchdog's reset. */
void shim_reboot_hung(void);
/* Shortly before a reset that the board itself will not be able to explain. */
void shim_note_reset(enum shim_reset cause);

/* True once somebody asked for an orderly restart (development builds: shell command `sensor restart`). */
bool shim_restart_wanted(void);

#endif
