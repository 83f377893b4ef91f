using System.Globalization;
using Google.Protobuf.Reflection;
using PostCopy.Control.Messages;

namespace PostCopy.Tests.Control;

/// <summary>The protobuf fields that older programs know. A line may be added here, and moved to those that are out of use, never changed.</summary>
public sealed class FrozenFieldsTests
{
    private const string Known = """
        Prepare.container_id 1 String, Prepare.bundle 2 String, Prepare.tcp_established 3 Bool, Prepare.criu_config 4 String, Prepare.stop_copy 5 Bool,
        Prepare.architecture 6 String, Prepare.criu_version 7 String, Prepare.memory_bytes 8 UInt64,
        Prepare.checksums 10 Bool, Prepare.process_tree 11 Message, Prepare.memory_bytes_at_source 20 UInt64, Prepare.user_namespace 21 Bool, Prepare.largest_mapping_bytes 22 UInt64, Prepare.collapse 23 Bool,
        Progress.short_of_memory 4 Bool, ProcessTree.pids 1 Int32[], Prepared.checksums 3 Bool,
        Prepared.refusals 1 String[],
        Prepare.pre_copy 24 Bool, Prepare.systemd_cgroup 25 Bool, Prepare.step_deadline_ms 26 UInt64, Prepared.pre_copy 20 Bool, Prepared.early_restore 21 Bool, Drained.local_faults 21 UInt64,
        ImageChunk.name 1 String, ImageChunk.data 2 Bytes, ImagesDone.files 1 UInt32, ImagesDone.bytes 2 UInt64,
        Built.images_complete_us 1 Int64, Built.built_us 3 Int64,
        Decision.may_run 1 Bool, Resumed.resumed_us 1 Int64,
        Progress.remaining_pages 1 UInt64, Progress.faults 2 UInt64,
        Drained.dropped_pages 3 UInt64, Drained.faults 4 UInt64,
        Drained.fault_p50_us 5 Double, Drained.fault_p99_us 6 Double, Drained.fault_max_us 7 Double, Drained.drained_us 8 Int64,
        Cancel.reason 1 String, NeverRan.errors 1 String[], Failed.error 1 String,
        Owed.pid 1 Int32, Owed.starts 2 UInt64[], Owed.pages 3 UInt64[], Owed.last 4 Bool, MemoryLost.reason 1 String, CheckReport.json 1 String,
        Prepared.boot_id 22 String, CheckReport.boot_id 2 String
        """;

    /// <summary>What programs sent once, and none ever read.</summary>
    private const string OutOfUse = """
        Prepare.container_id_at_source 9, Prepared.criu_version 2, Built.restore_started_us 2, Progress.trouble 3,
        Drained.pushed_pages 1, Drained.faulted_pages 2, Drained.staged_pages 20
        """;

    [Fact]
    public void Fields_keep_their_numbers_and_types()
    {
        string[] actual =
        [
            .. from message in ControlReflection.Descriptor.MessageTypes
               from field in message.Fields.InDeclarationOrder()
               select $"{message.Name}.{field.Name} {field.FieldNumber} {field.FieldType}{(field.IsRepeated ? "[]" : "")}",
        ];
        string[] known = Known.Split([',', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.True(!known.Except(actual).Any(), $"changed or gone: {string.Join(", ", known.Except(actual))}");
        Assert.True(!actual.Except(known).Any(), $"new, add them here: {string.Join(", ", actual.Except(known))}");
    }

    [Fact]
    public void What_is_out_of_use_is_never_used_again()
    {
        foreach (string field in OutOfUse.Split([',', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            string[] words = field.Split('.', ' ');
            int number = int.Parse(words[2], CultureInfo.InvariantCulture);
            DescriptorProto message = ControlReflection.Descriptor.MessageTypes.Single(message => message.Name == words[0]).ToProto();
            Assert.True(message.ReservedName.Contains(words[1]) && message.ReservedRange.Any(range => range.Start <= number && number < range.End), $"{field} is not reserved");
        }
    }
}
