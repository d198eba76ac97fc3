"""*Hosts and containers*: machines by node-exporter, processes by themselves, containers by cAdvisor."""

from __future__ import annotations

from deploy.monitoring.dashboards.dashboard import Dashboard, Panel, Query, Row

RATE = "$__rate_interval"
DISKS = 'fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660|fuse.*"'

MACHINES = Row(
    "Machines",
    (
        Panel(
            "Processors in use",
            (Query(f'1 - avg by (instance) (rate(node_cpu_seconds_total{{mode="idle"}}[{RATE}]))', "{{instance}}"),),
            "percentunit",
            "Above 85 % responses become slower: move an engine or workers to another machine.",
            warn_from=0.85,
        ),
        Panel(
            "Load per processor",
            (
                Query(
                    'max by (instance) (node_load1) / count by (instance) (node_cpu_seconds_total{mode="idle"})',
                    "{{instance}}",
                ),
            ),
            "short",
            "Above 2 processes wait for a processor: see which role uses most in the row Processes.",
            warn_from=2,
        ),
        Panel(
            "Memory available",
            (Query("min by (instance) (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)", "{{instance}}"),),
            "percentunit",
            "Below 10 % the kernel may end processes: find what grows.",
            warn_from=0.2,
            act_from=0.1,
            low_is_bad=True,
        ),
        Panel(
            "Disk free",
            (
                Query(
                    f"min by (instance, mountpoint) (node_filesystem_avail_bytes{{{DISKS}}} "
                    f"/ node_filesystem_size_bytes{{{DISKS}}})",
                    "{{instance}} {{mountpoint}}",
                ),
            ),
            "percentunit",
            "Below 15 %: delete what is not data, or enlarge the volume.",
            warn_from=0.15,
            act_from=0.05,
            low_is_bad=True,
        ),
        Panel(
            "Disk busy",
            (
                Query(
                    f"max by (instance, device) (rate(node_disk_io_time_seconds_total[{RATE}]))",
                    "{{instance}} {{device}}",
                ),
            ),
            "percentunit",
            "Near 100 % commits wait for the disk: move an engine to a disk of its own.",
            warn_from=0.8,
        ),
        Panel(
            "Network",
            (
                Query(f"sum by (instance) (rate(node_network_receive_bytes_total[{RATE}]))", "{{instance}} received"),
                Query(f"sum by (instance) (rate(node_network_transmit_bytes_total[{RATE}]))", "{{instance}} sent"),
            ),
            "Bps",
            "A sudden fall to 0 is a network fault; compare it with the requests of the gateway.",
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel(
            "Processor time by role",
            (Query(f'sum by (role) (rate(process_cpu_seconds_total{{job="payflow"}}[{RATE}]))', "{{role}}"),),
            "short",
            "In processors; a role near 1 for each of its processes needs another process.",
        ),
        Panel(
            "Memory by role",
            (Query('max by (role) (process_resident_memory_bytes{job="payflow"})', "{{role}}"),),
            "bytes",
            "One that grows without end: restart it, read its log, and report it.",
        ),
        Panel(
            "Open files by role",
            (Query('max by (role) (process_open_fds{job="payflow"} / process_max_fds{job="payflow"})', "{{role}}"),),
            "percentunit",
            "Share of the limit: above 80 % raise the limit or run more processes of the role.",
            warn_from=0.8,
        ),
    ),
)

OF_DOCKER = 'name!="",pod=""'
OF_KUBERNETES = 'container!="",pod!=""'
"""The kubelet has cAdvisor built in. There a `name` is an id; without `container` a series is the sum of a pod."""

CONTAINERS = Row(
    "Containers (cAdvisor)",
    (
        Panel(
            "CPU of containers",
            (
                Query(f"sum by (name) (rate(container_cpu_usage_seconds_total{{{OF_DOCKER}}}[{RATE}]))", "{{name}}"),
                Query(
                    f"sum by (pod, container) (rate(container_cpu_usage_seconds_total{{{OF_KUBERNETES}}}[{RATE}]))",
                    "{{pod}} {{container}}",
                ),
            ),
            "short",
            "In processors; one that stays at its limit needs a higher limit or another process.",
            width=12,
        ),
        Panel(
            "Memory of containers",
            (
                Query(f"sum by (name) (container_memory_working_set_bytes{{{OF_DOCKER}}})", "{{name}}"),
                Query(
                    f"sum by (pod, container) (container_memory_working_set_bytes{{{OF_KUBERNETES}}})",
                    "{{pod}} {{container}}",
                ),
            ),
            "bytes",
            "One that grows without end is restarted at its limit: read its log, and report it.",
            width=12,
        ),
    ),
)

HOSTS = Dashboard(
    uid="payflow-hosts",
    title="PayFlow: Hosts and containers",
    description="Machines, the processes of PayFlow, and containers.",
    rows=(MACHINES, PROCESSES, CONTAINERS),
)
