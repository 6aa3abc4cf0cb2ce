/* What no exporter can be faster than over one connection: MariaDB's client library asks for the two large answers, has them in memory, and throws
 * them away. Once for each line on standard input; the seconds that it took go to standard output.
 * usage: MYSQL_PWD=… c_client USER PORT */
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(MYSQL *connection)
{
    fprintf(stderr, "c_client: %s\n", mysql_error(connection));
    exit(1);
}

static void ask(MYSQL *connection, const char *statement)
{
    MYSQL_RES *rows;
    if (mysql_query(connection, statement) || !(rows = mysql_store_result(connection)))
        fail(connection);
    mysql_free_result(rows);
}

int main(int argc, char **argv)
{
    char line[8];
    MYSQL *connection = mysql_init(NULL);
    if (argc != 3)
        return 2;
    if (!mysql_real_connect(connection, "127.0.0.1", argv[1], getenv("MYSQL_PWD"), NULL, atoi(argv[2]), NULL, 0))
        fail(connection);
    while (fgets(line, sizeof line, stdin)) {
        double start = now();
        ask(connection, "SHOW GLOBAL STATUS");
        ask(connection, "SHOW GLOBAL VARIABLES");
        printf("%.9f\n", now() - start);
        fflush(stdout);
    }
    return 0;
}
