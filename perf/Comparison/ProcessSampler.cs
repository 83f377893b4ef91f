using System.Globalization;

namespace PostCopy.Perf.Comparison;

/// <summary>Looks at the processes that serve pages on a host again and again, and keeps the most memory and descriptors they had at a time.</summary>
internal sealed class ProcessSampler : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    private readonly HostMeter _host;
    private readonly HashSet<string> _serving = [];
    private readonly HashSet<string> _ours = [];
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

    /// <summary>Of a single process of postcopy.</summary>
    public double LargestMiB { get; private set; }

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
                    double its = double.Parse(resident, CultureInfo.InvariantCulture) * Environment.SystemPageSize / (1 << 20);
                    mebibytes += its;
                    LargestMiB = _ours.Contains(pid) ? Math.Max(LargestMiB, its) : LargestMiB;
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
    /// postcopy in all its roles, and CRIU where it serves pages or holds the frozen tasks. Not what restores, nor runc: both are there either way.
    /// </summary>
    private bool Serves(string pid)
    {
        // A process that does not serve may be about to execute another program, or to name itself: it is looked at again.
        if (!_serving.Contains(pid) && CommandLine(pid).Split('\0', ' ') is var words && IsServer(words))
        {
            _serving.Add(pid);
            if (IsOurs(words))
            {
                _ours.Add(pid);
            }
        }

        return _serving.Contains(pid);
    }

    /// <summary>CRIU overwrites its arguments when runc drives it: "criu: dump --rpc -t PID".</summary>
    private static bool IsServer(string[] words) =>
        IsOurs(words) || (Path.GetFileName(words[0]) is "criu" or "criu:" && words.ElementAtOrDefault(1) is "dump" or "lazy-pages");

    private static bool IsOurs(string[] words) => Path.GetFileName(words[0]) is "postcopy";

    private static string CommandLine(string pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline");
        }
        catch (IOException)
        {
            return "";
        }
    }
}
