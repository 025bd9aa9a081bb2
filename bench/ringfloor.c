// ringfloor: what a relayed packet costs by io_uring, with no server around it: recv and send, as
// udpfloor does it by epoll.
//
//   cc -O2 -o ringfloor ringfloor.c -luring        (Debian: liburing-dev)
//   ringfloor IP FIRST_PORT CALLS [GATHER]
//
// Ports and ends are udpfloor's. Each socket always has a receive under way; a packet's send and the
// next receive go to the kernel with the system call that waits for packets. GATHER: microseconds
// between two of those.
#include <arpa/inet.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

typedef struct {
    int fd, known;
    struct sockaddr_in source;
    struct msghdr message;
    struct iovec part;
    char packet[2048];
} end_t;

#define SENT (1ull << 32)
static struct io_uring ring;
static end_t *end;

static int port(const char *ip, int number) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(number)};
    inet_pton(AF_INET, ip, &at.sin_addr);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at)) {
        perror("ringfloor");
        exit(1);
    }
    return fd;
}

static struct io_uring_sqe *request(void) {
    struct io_uring_sqe *entry;
    while (!(entry = io_uring_get_sqe(&ring)))
        io_uring_submit(&ring);
    return entry;
}

// After preparing, which clears them.
static void mark(struct io_uring_sqe *entry, unsigned long long data) {
    entry->flags |= IOSQE_FIXED_FILE;
    entry->user_data = data;
}

static void receive(int number) {
    end_t *e = &end[number];
    struct io_uring_sqe *entry = request();
    if (e->known) {
        io_uring_prep_recv(entry, number, e->packet, sizeof e->packet, 0);
    } else {
        e->part = (struct iovec){e->packet, sizeof e->packet};
        e->message = (struct msghdr){.msg_name = &e->source, .msg_namelen = sizeof e->source, .msg_iov = &e->part, .msg_iovlen = 1};
        io_uring_prep_recvmsg(entry, number, &e->message, 0);
    }
    mark(entry, number);
}

static void arrived(int number, int size) {
    end_t *from = &end[number];
    if (size >= 0 && !from->known)
        from->known = !connect(from->fd, (struct sockaddr *)&from->source, sizeof from->source);
    if (size < 0 || !end[number ^ 1].known) {
        receive(number);
        return;
    }
    struct io_uring_sqe *entry = request();
    io_uring_prep_send(entry, number ^ 1, from->packet, size, MSG_DONTWAIT);
    mark(entry, SENT | number);
}

int main(int count, char **arguments) {
    if (count < 4 || count > 5) {
        fprintf(stderr, "ringfloor IP FIRST_PORT CALLS [GATHER]\n");
        return 2;
    }
    int ends = 2 * atoi(arguments[3]);
    struct timespec gather = {0, count > 4 ? 1000 * atol(arguments[4]) : 0};
    struct io_uring_params how = {.flags = IORING_SETUP_SINGLE_ISSUER | 1u << 13 /* IORING_SETUP_DEFER_TASKRUN */ | IORING_SETUP_CQSIZE,
                                  .cq_entries = 16384};
    int failed = io_uring_queue_init_params(4096, &ring, &how);
    int *fds = calloc(ends, sizeof *fds);
    end = calloc(ends, sizeof *end);
    for (int n = 0; n < ends; n++)
        fds[n] = end[n].fd = port(arguments[1], atoi(arguments[2]) + 2 * n);
    if (failed || (failed = io_uring_register_files(&ring, fds, ends))) {
        fprintf(stderr, "ringfloor: %s\n", strerror(-failed));
        return 1;
    }
    for (int n = 0; n < ends; n++)
        receive(n);
    for (;;) {
        if (gather.tv_nsec)
            nanosleep(&gather, 0);
        io_uring_submit_and_wait(&ring, 1);
        struct io_uring_cqe *done[512];
        unsigned found = io_uring_peek_batch_cqe(&ring, done, 512);
        for (unsigned i = 0; i < found; i++) {
            unsigned long long data = done[i]->user_data;
            if (data & SENT)
                receive((int)(data & ~SENT));
            else
                arrived((int)data, done[i]->res);
        }
        io_uring_cq_advance(&ring, found);
    }
}
