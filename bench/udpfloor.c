// udpfloor: what a relayed packet costs with no server around it: epoll, recv, send.
//
//   cc -O2 -o udpfloor udpfloor.c
//   udpfloor IP FIRST_PORT CALLS [GATHER]
//
// Each call has two ports, FIRST_PORT + 4 n for one end and + 2 for the other. Whoever sends first to
// a port is its end; from then on the port's socket is connected to him, and what comes to the other
// port goes to him. One thread, until it is killed. GATHER: microseconds that it sleeps before it looks
// at its sockets again.
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct { int fd, known; } end_t;

static int port(const char *ip, int number) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(number)};
    inet_pton(AF_INET, ip, &at.sin_addr);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at)) {
        perror("udpfloor");
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments) {
    if (count < 4 || count > 5) {
        fprintf(stderr, "udpfloor IP FIRST_PORT CALLS [GATHER]\n");
        return 2;
    }
    int ends = 2 * atoi(arguments[3]), poll = epoll_create1(0);
    struct timespec gather = {0, count > 4 ? 1000 * atol(arguments[4]) : 0};
    end_t *end = calloc(ends, sizeof *end);
    for (int n = 0; n < ends; n++) {
        end[n].fd = port(arguments[1], atoi(arguments[2]) + 2 * n);
        struct epoll_event watch = {.events = EPOLLIN, .data.u32 = n};
        epoll_ctl(poll, EPOLL_CTL_ADD, end[n].fd, &watch);
    }
    for (struct epoll_event ready[256];;) {
        if (gather.tv_nsec)
            nanosleep(&gather, 0);
        int found = epoll_wait(poll, ready, 256, -1);
        for (int i = 0; i < found; i++) {
            char packet[2048];
            end_t *from = &end[ready[i].data.u32], *to = &end[ready[i].data.u32 ^ 1];
            struct sockaddr_in source;
            socklen_t length = sizeof source;
            ssize_t size = from->known ? recv(from->fd, packet, sizeof packet, 0)
                                       : recvfrom(from->fd, packet, sizeof packet, 0, (struct sockaddr *)&source, &length);
            if (size < 0)
                continue;
            if (!from->known)
                from->known = !connect(from->fd, (struct sockaddr *)&source, sizeof source);
            if (to->known && send(to->fd, packet, size, 0) < 0)
                continue;
        }
    }
}
