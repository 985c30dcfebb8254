/*
 * A name service of a test's own, for a program that asks the C library: the host SENSOR_HOST has the addresses in SENSOR_ADDRESSES,
 * in this order, separated by commas. For LD_PRELOAD.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	const char *host = getenv("SENSOR_HOST"), *addresses = getenv("SENSOR_ADDRESSES");

	if (!node || !host || !addresses || strcmp(node, host) != 0) {
		return next(node, service, hints, found);
	}

	char text[256] = "";
	char *rest = NULL;
	struct addrinfo **end = found;

	strncpy(text, addresses, sizeof(text) - 1);
	for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
		int failed = next(one, service, hints, end);

		if (failed) {
			return failed;
		}
		while (*end) {
			end = &(*end)->ai_next;
		}
	}
	return 0;
}
