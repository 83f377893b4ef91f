using System.Globalization;

namespace PostCopy.Perf.Comparison;

/// <summary>Looks at the processes that serve pages on a host again and again, and keeps the most memory and descriptors they had at a time.</summary>
internal sealed class ProcessSampler : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    private readonly HostMeter _host;
    private readonly Dictionary<string, bool> _serves = [];
    private readonly ManualResetEventSlim _stop = new();
    private readonly Thread _thread;

    public ProcessSampler(HostMeter host)
    {
        _host = host;
        _thread = new Thread(Watch) { IsBackground = true };
        _thread.Start();
    }

    public double PeakMiB { get; private set; }

    public int PeakDescriptors { get; private set; }

    public void Dispose()
    {
        _stop.Set();
        _thread.Join();
        _stop.Dispose();
    }

    private void Watch()
    {
        do
        {
            double mebibytes = 0;
            int descriptors = 0;
            foreach (string pid in _host.Processes().Where(Serves))
            {
                try
                {
                    string resident = File.ReadAllText($"/proc/{pid}/statm").Split(' ')[1];
                    mebibytes += double.Parse(resident, CultureInfo.InvariantCulture) * Environment.SystemPageSize / (1 << 20);
                    descriptors += Directory.GetFileSystemEntries($"/proc/{pid}/fd").Length;
                }
                catch (IOException)
                {
                    // It ended meanwhile.
                }
            }

            PeakMiB = Math.Max(PeakMiB, mebibytes);
            PeakDescriptors = Math.Max(PeakDescriptors, descriptors);
        }
        while (!_stop.Wait(Interval));
    }

    /// <summary>
    /// postcopy in all its roles, and CRIU where it serves pages: the dump that became a page server, and the lazy-pages daemon. Not what restores,
    /// nor runc: both are there either way.
    /// </summary>
    private bool Serves(string pid)
    {
        if (!_serves.TryGetValue(pid, out bool serves))
        {
            string[] command = CommandLine(pid);
            serves = Path.GetFileName(command[0]) switch
            {
                "postcopy" => true,
                "criu" => command.Length > 1 && (command[1] == "lazy-pages" || IsDump(pid)),
                _ => false,
            };

            // A process that is about to execute another program is looked at again.
            if (serves)
            {
                _serves[pid] = serves;
            }
        }

        return serves;
    }

    private static string[] CommandLine(string pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline").Split('\0');
        }
        catch (IOException)
        {
            return [""];
        }
    }

    /// <summary>runc drives CRIU as "criu swrk": dump.log in its work directory tells what for.</summary>
    private static bool IsDump(string pid)
    {
        try
        {
            return Directory.GetFileSystemEntries($"/proc/{pid}/fd").Any(descriptor => File.ResolveLinkTarget(descriptor, returnFinalTarget: false)?.Name == "dump.log");
        }
        catch (IOException)
        {
            return false;
        }
    }
}
