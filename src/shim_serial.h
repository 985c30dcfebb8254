/*
 * The serial line to the factory: the devicetree's chosen `sensor,provisioning-uart`, behind two ring buffers. None of
 * these calls waits.
 */
#ifndef SHIM_SERIAL_H_
#define SHIM_SERIAL_H_

#include <stddef.h>
#include <stdint.h>

/* Each way: more than the longest frame of protocol::provisioning. */
#define SHIM_SERIAL_BUFFER_BYTES 1024

/* -ENODEV where the board has no such line. */
int shim_serial_open(void);
/* Bytes that came, at most `room`; gives how many. */
size_t shim_serial_read(uint8_t *data, size_t room);
/* Gives how many of the bytes were taken. */
size_t shim_serial_write(const uint8_t *data, size_t len);
/* Forgets what came and was not read, and overwrites the buffer. */
void shim_serial_wipe(void);
/* Takes nothing more. */
void shim_serial_close(void);

#endif
