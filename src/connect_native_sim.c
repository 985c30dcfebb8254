/*
 * native_sim's sockets are the host's: they take no notice of CONFIG_NET_SOCKETS_CONNECT_TIMEOUT, and a service that answers
 * nothing would hold an attempt to connect for two minutes; and they take megabytes before they say that the peer takes no
 * more, where a board has a few packet buffers. The linker leads the call through here (CMakeLists.txt). For simulated devices only.
 */
#include <zephyr/net/socket.h>

int __real_z_impl_zsock_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_z_impl_zsock_connect(int fd, const struct sockaddr *address, socklen_t len);

int __wrap_z_impl_zsock_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	const struct zsock_timeval limit = {.tv_sec = CONFIG_NET_SOCKETS_CONNECT_TIMEOUT / 1000,
					    .tv_usec = CONFIG_NET_SOCKETS_CONNECT_TIMEOUT % 1000 * 1000};

	/* The smallest that the host has. */
	const int send_buffer = 1;

	/* Without them the attempt is only longer. */
	(void)zsock_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
	(void)zsock_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return __real_z_impl_zsock_connect(fd, address, len);
}
